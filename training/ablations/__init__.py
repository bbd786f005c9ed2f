"""The papers' tables and figures, measured again: what each idea does, and how sure that is.

study.py        what a study is: tables, rows, which row is compared with which
rdsnet.py       the tables of RDSNet, with the paper's numbers
segrpn.py       the tables of SegRPN
joint.py        the joint network against itself without the exchange, and against both
runs.py         trainings, done once and kept
scoring.py      scores of a row, of all pictures and of resampled ones
statistics.py   how sure a difference is
results.py      tables for people, JSON for docs/results
charts.py       lines with intervals; the pictures of the figures are in files of their own
"""
