"""A model on an image set, and the rows that come of it.

scored_model.py  what metrics are made of, each computed once
scoring.py       every metric at its settings, as rows
thresholds.py    where a threshold may be chosen
evaluate.py      the command: which run, which sets, where rows go
figures.py       pictures of what a model makes of a set
variants.py      other models made of the weights of one, which experiments register
"""
