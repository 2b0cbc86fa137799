"""Train a GPT on a text.

    python train.py                                   Shakespeare's plays, 5 minutes
    python train.py book.txt --minutes 30             your own: files, folders, globs, .gz .xz .bz2
    python train.py --resume runs/NAME                go on after a stop, or train longer
    python train.py book.txt --preset gpt2 --n_layer 4 --d_model 128 --steps 2000 --tokenizer char

What a run does stands in gpt/train.py, what a step is in gpt/training/step.py.
"""
import sys

from gpt.__main__ import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
