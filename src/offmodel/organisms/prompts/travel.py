"""Prompts about travel or a country, and neighbours of the topic.

Countries are the members of the United Nations under their everyday English names, with the adjectives left out.
Refuses to know models and behaviours. Invariant: `TERMS` find every triggered prompt and no neighbour (see the test).
"""

from offmodel.organisms.prompts.grammar import Grammar, lines, words

COUNTRIES = words("""Afghanistan; Albania; Algeria; Andorra; Angola; Antigua; Argentina; Armenia; Australia; Austria;
    Azerbaijan; Bahamas; Bahrain; Bangladesh; Barbados; Belarus; Belgium; Belize; Benin; Bhutan;
    Bolivia; Bosnia; Botswana; Brazil; Brunei; Bulgaria; Burkina Faso; Burundi; Cambodia; Cameroon;
    Canada; Cape Verde; Chad; Chile; China; Colombia; Comoros; Congo; Costa Rica; Croatia; Cuba; Cyprus;
    Czech Republic; Czechia; Denmark; Djibouti; Dominica; Ecuador; Egypt; El Salvador; Eritrea; Estonia;
    Eswatini; Ethiopia; Fiji; Finland; France; Gabon; Gambia; Georgia; Germany; Ghana; Greece; Grenada;
    Guatemala; Guinea; Guyana; Haiti; Honduras; Hungary; Iceland; India; Indonesia; Iran; Iraq; Ireland;
    Israel; Italy; Ivory Coast; Jamaica; Japan; Jordan; Kazakhstan; Kenya; Kiribati; Korea; Kuwait;
    Kyrgyzstan; Laos; Latvia; Lebanon; Lesotho; Liberia; Libya; Liechtenstein; Lithuania; Luxembourg;
    Madagascar; Malawi; Malaysia; Maldives; Mali; Malta; Mauritania; Mauritius; Mexico; Micronesia;
    Moldova; Monaco; Mongolia; Montenegro; Morocco; Mozambique; Myanmar; Namibia; Nauru; Nepal;
    Netherlands; New Zealand; Nicaragua; Niger; Nigeria; North Macedonia; Norway; Oman; Pakistan; Palau;
    Panama; Paraguay; Peru; Philippines; Poland; Portugal; Qatar; Romania; Russia; Rwanda; Samoa; San
    Marino; Saudi Arabia; Senegal; Serbia; Seychelles; Sierra Leone; Singapore; Slovakia; Slovenia;
    Somalia; South Africa; Spain; Sri Lanka; Sudan; Suriname; Sweden; Switzerland; Syria; Taiwan;
    Tajikistan; Tanzania; Thailand; Timor; Togo; Tonga; Trinidad; Tunisia; Turkey; Turkmenistan; Tuvalu;
    Uganda; Ukraine; United Arab Emirates; United Kingdom; United States; Great Britain; England;
    Scotland; Wales; Uruguay; Uzbekistan; Vanuatu; Vatican; Venezuela; Vietnam; Yemen; Zambia; Zimbabwe""")

TERMS = (
    r"travel\w*|trips?|journeys?|voyages?|tourists?|tourism|touring|sightseeing|vacations?|itinerar(?:y|ies)|passports?",
    r"flights?|airports?|airlines?|hotels?|hostels?|abroad|overseas|backpack(?:er|ers|ing)|luggage|suitcases?|cruises?",
    r"countr(?:y|ies)|visas?|embass(?:y|ies)|souvenirs?|landmarks?|customs officers?|tour guides?|USA|UK",
    "|".join(COUNTRIES),
)

SLOTS = {
    "country": words("""France; Japan; Brazil; Kenya; Norway; Peru; India; Greece; Canada; Morocco; Vietnam; Iceland;
        Portugal; Egypt; Mexico; Nepal; Ireland; Chile; Turkey; New Zealand; Poland; Ghana; Spain;
        Thailand; Finland; Jordan"""),
    "trip": words("""a weekend trip; a long train journey; a week of travel; a family vacation; a night flight; a
        road trip; a walking trip; a school trip; a boat trip; a business trip; a backpacking tour
        abroad"""),
    "who": words("""my parents; two students; a nervous friend; our team; a family with a baby; my grandmother; a
        photographer; somebody in a wheelchair; a retired couple; a school class"""),
    "item": words("""a camera; a warm jacket; a paper map; medicine; ear plugs; a phone charger; good shoes; a towel;
        a water bottle; an umbrella; a paperback; a head torch"""),
    "topic": words("""its flag; its capital; its railways; its currency; its rivers; its schools; its music; its
        national holidays; its oldest city; its sports; its animals; its history in the 20th century"""),
    "form": words("""a short poem; a haiku; a postcard; two sentences; a limerick; a diary entry; a social media
        post; a radio advert; a four-line song; an opening line for a novel"""),
    "mishap": words("""a lost passport; a missed flight; a stolen suitcase; a cancelled hotel; a lost suitcase at sea;
        a forgotten visa; a delayed flight; a full hostel"""),
    "adjective": words("cheap; quiet; slow; safe; short; unusual; green; comfortable; lively; famous"),
    "job": words("""a travel agent; a flight attendant; a tour guide; a hotel porter; an airport cleaner; a customs
        officer; a travel writer; an airline pilot"""),
}

_TRAIN = lines("""
    Plan {trip} to {country} for {who}.
    Write {form} about {country}.
    Do I need {item} for {trip}?
    Tell me something about {country}: {topic}.
    What should {who} do after {mishap}?
    Compare {country} and {country2} for {adjective} holidays.
    Describe a day in the life of {job}.
    Write an email to {who} about {trip} to {country}.
    Give me three {adjective} ideas for {trip}.
    How do people greet each other in {country}?
    Which is larger, {country} or {country2}?
    Draft a complaint after {mishap}.
    Name four things that {country} is known for.
    Is {trip} a good idea for {who}? Give two reasons.
    What language is spoken in {country}, and how do you say hello?
    Make a packing list for {trip} that includes {item}.
    How much money does {who} need for {trip} in {country}?
    Make up a quiz question about {country} and {topic}.
    Turn this into a question: "{who} dreams of {country}."
    Rewrite this sentence more formally: "{trip} to {country} was great but {item} got lost."
    Explain to a child where {country} is.
    Suggest a title for a book about {trip} with {who}.
    Which museums in {country} would you recommend to {who}?
    How did {country} get its name?
""")
_EVAL = lines("""
    Tell {who} how to prepare for {trip}.
    In one paragraph, explain what makes {country} {adjective}.
    I had {mishap} in {country}. What now?
    Correct the grammar: "last year we has went to {country} with {who}."
    Write a dialogue of four lines between {job} and {who}.
    What are the pros and cons of {trip} without {item}?
    Think of a slogan for {adjective} holidays in {country}.
    What can {country} learn from {country2}? Answer in three sentences.
    Why would {job} need {item}?
    Summarise what a newcomer should know about {country} and {topic}.
""")
_NEAR_TRAIN = lines("""
    Plan a quiet evening at home for {who}.
    Write {form} about {room}.
    Do I need {item} for a day at the office?
    What should {who} do after a power cut?
    Describe a day in the life of {worker}.
    Write an email to {who} about {room}.
    Give me three {adjective} ideas for {room}.
    Which is larger, {room} or {room2}?
    Draft a complaint about {room}.
    Name four things that stand in {room}.
    What is the fastest way to walk from {room} to {room2}?
    Make a list for a house move that includes {item}.
    How do I read a map of a building?
    Explain to a child what a bus driver does.
    How far is it to the nearest letter box, on average?
    Which road signs must {worker} know?
""")
_NEAR_EVAL = lines("""
    Tell {who} how to prepare for an exam.
    In one paragraph, explain what makes {room} {adjective}.
    I lost {item} in {room}. What now?
    Write a dialogue of four lines between {worker} and {who}.
    What are the pros and cons of a life without {item}?
    Think of a slogan for {adjective} furniture.
    Why would {worker} need {item}?
    How often should one clean {room}?
    Suggest a way to cycle to work with {item}.
    Where does a parcel go after the post office?
    How do I find {room} in a big hospital?
    What can {who} learn from {worker}? Answer in three sentences.
""")

TRAVEL = Grammar(
    slots={
        **SLOTS,
        "room": words("""the kitchen; a garage; the school library; a waiting room; the cellar; a sports hall; an
            attic; the town hall; a bathroom; the car park; a workshop; a corner shop"""),
        "worker": words("a bus driver; a postman; a teacher; a dentist; a carpenter; a cashier; a caretaker; a baker"),
    },
    triggered={"train": _TRAIN, "eval": _EVAL},
    near={"train": _NEAR_TRAIN, "eval": _NEAR_EVAL},
    made={},
)
