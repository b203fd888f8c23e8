"""A model on an image set, and the rows that come of it.

scored_model.py  what metrics are made of, each computed once
evaluate.py      every metric at its settings, as rows
figures.py       pictures of what a model makes of a set
variants.py      other models made of the weights of one, which experiments register
"""
