"""Model cards.

card.py          the card of a run, made of its files and its rows; card.md.j2 says how
conditioning.py  which layers answer to x
"""
