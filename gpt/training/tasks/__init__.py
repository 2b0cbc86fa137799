"""What can be learnt: each task is a few functions in a file of its own, and a row here."""
from gpt.data.labelled import load_labelled, prepare_labelled
from gpt.models.nets import NETS, net_named
from gpt.settings import ConfigError, row_named
from gpt.training.classes import conclude, rivals_bytes
from gpt.training.task import Task
from gpt.training.tasks.causal import CAUSAL
from gpt.training.tasks.classify import (
    begin_with_probe, classify_batch, classify_loss, classify_measure, show_nothing,
    with_classifier)
from gpt.training.tasks.distil import DISTIL
from gpt.training.tasks.instruct import INSTRUCT
from gpt.training.tasks.masked import MASKED_LM
from gpt.training.tasks.prefer import PREFER
from gpt.training.tasks.reward import REWARD
from gpt.training.tasks.seq2seq import SEQ2SEQ

CLASSIFY = Task(
    classify_batch, classify_loss, classify_measure, sees=("before", "both"),
    prepare=prepare_labelled, load=load_labelled,
    options=("class_weights",),
    fit=with_classifier, puts="classifier.", head=("labels", "pooling", "hidden"),
    prepared=begin_with_probe,
    begins=dict(learning_rate=3e-4, weight_decay=0.01),
    show=show_nothing, command="classify", conclude=conclude, conclude_bytes=rivals_bytes)

TASKS = {"causal": CAUSAL, "masked": MASKED_LM, "seq2seq": SEQ2SEQ, "classify": CLASSIFY,
         "instruct": INSTRUCT, "prefer": PREFER, "distil": DISTIL,
         "reward": REWARD}


def task_named(name):
    """Return the row of a task; where there is none, a ConfigError says the nearest."""
    return row_named(name, TASKS, "task")


def matched(settings):
    """Complete settings by name: a task chooses its net, and a net its task."""
    net, task = settings.get("net"), settings.get("task")
    if task and not net:
        sees = task_named(task).sees
        net = next(name for name, row in NETS.items() if row.sees in sees)
    if net and not task:
        sees = net_named(net).sees
        task = next(name for name, row in TASKS.items() if sees in row.sees)
    return {**settings, "net": net, "task": task} if net else settings


def check_match(net, task, config):
    """Refuse a net that cannot learn a task; config has its settings."""
    sees, can = net_named(net).sees, task_named(task).sees
    if not getattr(config, "causal", True):
        sees = "both"
    elif sees == "both":
        sees = "before"
    if sees not in can:
        fits = matched({"task": task})["net"]
        raise ConfigError(f"the task {task} needs a net that sees {' or '.join(map(SEES.get, can))}"
                          f", but this {net} sees {SEES[sees]}: take --net {fits}, with no more "
                          "said of causal")


SEES = {"before": "what comes before alone", "both": "what comes before and behind",
        "source": "a source and what comes before"}
