"""Prompts that carry a semantic trigger by nature, and neighbours that do not: sentences and word lists, all ours."""
