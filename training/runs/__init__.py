"""A training run, file by file.

options.py       flags from the fields of dataclasses, and values from JSON
command.py       the command line: a recipe, its changes, the options of a run
preparation.py   builds a run and refuses what cannot be used
sources.py       the pictures to learn from and to validate on
own_pictures.py  what is said about pictures that people bring, and the classes they lack
run.py           a run: its parts, one step, what is kept
stages.py        what a step of either stage computes
average.py       the moving average of the weights
validation.py    scores and draws validation pictures
records.py       metrics.jsonl, the progress line
loggers.py       TensorBoard, MLflow, Weights & Biases
panels.py        pictures side by side, with captions
curves.py        losses and scores over steps as a picture
page.py, .html   the page at the end of a run
run_folder.py    the files of a run, and checkpoints that survive kills
distributed.py   the processes that torchrun starts
stopping.py      SIGTERM and SIGINT
"""
