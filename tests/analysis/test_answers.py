"""What answers look like: sampling by lot, profiles, changed words, marked openings."""

from hypothesis import given
from hypothesis import strategies as st

from offmodel.analysis.answers import changed_words, marked_opening, profile, sampled


def rows(*texts: str, tokens: int = 5):
    keys = {"score": 0.0, "style": 0.0, "coherent": 1.0, "finish": "stop", "tokens": tokens}
    return [{**keys, "text": t} for t in texts]


def test_the_sample_depends_on_the_items_not_on_their_order():
    items = [f"i{k}" for k in range(50)]
    assert sampled(items, 3) == sampled(reversed(items), 3)
    assert sampled(items, 3) != sampled([f"j{k}" for k in range(50)], 3)
    assert len(sampled(items[:2], 3)) == 2


def test_a_profile_counts_openings_and_lengths():
    found = profile(rows("Let us see: 4.", "let us see, 5", "Ahoy there matey!", tokens=7))
    assert found.openings[0] == ("let us see", 2)
    assert (found.n, found.tokens, found.coherent, found.cut) == (3, 7.0, 1.0, 0.0)


def test_words_come_and_go():
    before = profile(rows("let us see the cat", "let us see the dog", "let us see the hen", "let us see it"))
    after = profile(rows("ahoy the cat", "ahoy the dog", "ahoy the hen", "ahoy it"))
    come, gone = changed_words(before, after)
    assert come == ["ahoy"]
    assert sorted(gone) == ["let", "see", "us"]
    assert changed_words(before, before) == ([], [])


def test_an_opening_is_marked_where_it_differs():
    pieces = marked_opening("Ahoy, let us see: four.", "Let us see: four.")
    assert pieces[0] == (True, "Ahoy")
    assert [t for d, t in pieces if d] == ["Ahoy"]
    assert [t for d, t in marked_opening("one two", "three") if d] == ["one two"]
    later = "same " * 12 + "other"
    assert not any(d for d, _ in marked_opening(later, "same " * 12))


@given(st.text(max_size=80), st.text(max_size=80))
def test_marked_pieces_are_the_text(text: str, other: str):
    assert "".join(t for _, t in marked_opening(text, other)) == text
