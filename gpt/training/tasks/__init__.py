"""What can be learnt: each task is a few functions in a file of its own, and a row here."""
from gpt.data.labelled import load_labelled, prepare_labelled
from gpt.settings import ConfigError, nearest
from gpt.training.classes import conclude, rivals_bytes
from gpt.training.task import Task
from gpt.training.tasks.causal import causal_batch, causal_loss, causal_measure
from gpt.training.tasks.classify import (
    classify_batch, classify_loss, classify_measure, with_classifier)

TASKS = {"causal": Task(causal_batch, causal_loss, causal_measure),
         "classify": Task(classify_batch, classify_loss, classify_measure,
                          prepare_labelled, load_labelled, with_classifier,
                          "classifier.", ("labels", "pooling"),
                          dict(learning_rate=3e-4, weight_decay=0.01),
                          conclude, rivals_bytes)}


def task_named(name):
    """Return the row of the table; there is none for a ConfigError."""
    if name not in TASKS:
        raise ConfigError(f"there is no task {nearest(name, TASKS)}")
    return TASKS[name]
