"""From a run folder and image sets to rows.

evaluate.py  the command: which run, which sets, where rows go
scoring.py   every measure at its settings, as rows
"""
