"""What can be learnt: each task is three functions in a file of its own, and a row here."""
from gpt.training.task import Task
from gpt.training.tasks.causal import causal_batch, causal_loss, causal_measure

TASKS = {"causal": Task(causal_batch, causal_loss, causal_measure)}
