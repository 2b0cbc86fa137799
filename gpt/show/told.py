"""Whoever is told of a run while it goes on: the display, the file of metrics, a logger."""
from gpt import called
from gpt.show.display import Status
from gpt.show.loggers import make_logger
from gpt.show.summary import sample
from gpt.training.folder import Metrics

LOGGED = "loss", "grad_norm", "rate"     # of a step, for the logger


class Told:
    """All of them at once.

    Parameters
    ----------
    display : Lines or Live
    run : Run
    folder : path
    cost : Forecast
    log : str or None
        The name of a logger.
    """

    def __init__(self, display, run, folder, cost, log):
        self.display = display
        self.status = Status(cost.flops_per_token, cost.peak_gflops)
        self.metrics = Metrics(folder, run.step)
        self.remarked = False
        self.log = make_logger(log, folder)

    def step(self, record, plan, step_s):
        """Tell of a step; `step_s` is a better estimate of its time, if there is one."""
        self.status.step(record, plan, step_s)
        self.display.show(self.status)
        tokens_s = round(self.status.tokens_s)
        row = record._asdict()
        notes = row.pop("notes")
        self.metrics.write(**row, tokens_s=tokens_s, **notes)
        logged = {name: getattr(record, name) for name in LOGGED}
        self.log(record.step, **logged, **notes)

    def evaluated(self, run, found):
        """Tell of an evaluation, with what the model writes now."""
        (value, unit), text = found.shown, sample(run)
        self.status.val, self.status.val_unit, self.status.sample = value, unit, text
        self.status.val_history.append(value)
        name = "val_bits" if found.n_bytes else "val_right"
        numbers = {"val_loss": found.nats_per_token, name: value}
        numbers |= {f"val_{name}": x for name, x in found.means.items()}
        self.status.more = found.means
        written = {"sample": text} if text else {}
        self.metrics.write(step=run.step, **numbers, **written)
        self.metrics.flush()
        self.log(run.step, **numbers)

    def remark(self, text):
        """Say what is to be thought of, once."""
        if text and not self.remarked:
            self.remarked = True
            self.display.say(text)

    def stopped(self, run, folder):
        """Say how to go on with a run that was stopped and saved."""
        self.display.close()
        again = called("train", "--resume", folder)
        self.display.say(f"stopped at step {run.step} and saved; go on with: {again}")

    def close(self):
        self.display.close()
        self.metrics.close()
