"""What the user sees while a run goes on: a live panel with rich, or plain lines."""
import sys
import time
from dataclasses import dataclass, field
from functools import partial

from bpe.console import visible
from gpt.training.clock import duration


@dataclass
class Status:
    """The newest numbers of a run, for whoever shows them."""

    flops_per_token: int
    peak_gflops: float
    steps: int = 0
    record: object = None          # the newest StepRecord
    smooth_loss: float = None
    tokens_s: float = 0.0
    val: float = None              # on the validation part
    val_unit: str = "bits/byte"
    more: dict = field(default_factory=dict)         # what else was measured, by name
    val_history: list = field(default_factory=list)
    sample: str = ""
    left_s: float = 0.0

    def step(self, record, plan, step_s=None):
        """Take in a step; `step_s` is a better estimate of its time, if there is one."""
        memory = 0.95 if record.step > 20 else 1 - 1 / record.step
        self.smooth_loss = record.loss if self.smooth_loss is None else (
            memory * self.smooth_loss + (1 - memory) * record.loss)
        rate = record.n_tokens / record.elapsed_s
        self.tokens_s = rate if not self.tokens_s else 0.9 * self.tokens_s + 0.1 * rate
        self.record, self.steps = record, plan.steps
        self.left_s = (plan.steps - record.step) * (step_s or record.n_tokens / self.tokens_s)

    @property
    def share_of_peak(self):
        return self.flops_per_token * self.tokens_s / (self.peak_gflops * 1e9)


def make_display(plain=False):
    """Return a live display where that works, else plain lines."""
    if not plain and sys.stdout.isatty():
        try:
            import rich
            return Live(rich)
        except ImportError:
            pass
    return Lines()


class Lines:
    """Plain lines: one every few seconds, one for each evaluation."""

    EVERY_S = 10

    def __init__(self):
        self.shown = 0.0

    def say(self, text):
        print(visible(text), flush=True)

    def show(self, status):
        now = time.monotonic()
        if now - self.shown >= self.EVERY_S:
            self.shown = now
            self.say(one_line(status))

    def evaluated(self, status):
        self.shown = time.monotonic()
        self.say(f"{one_line(status)}  val {status.val:.3f} {status.val_unit}"
                 f"{in_words(status.more)}")

    def close(self):
        pass


def one_line(status):
    r = status.record
    return (f"step {r.step:,}/{status.steps:,}  loss {status.smooth_loss:.3f} nats/token  "
            f"rate {r.rate:.2f}  gradient {r.grad_norm:.2f}  {status.tokens_s:,.0f} tokens/s  "
            f"{duration(status.left_s)} left{in_words(r.notes)}")


def in_words(numbers):
    """Write numbers with their names, behind others."""
    return "".join(f"  {name} {x:.3g}" for name, x in numbers.items())


WIDE = 72                          # columns from which on the panel has four of its own


class Live:
    """A panel that is drawn anew a few times a second: bar, numbers, curve, sample."""

    def __init__(self, rich):
        from rich.console import Console, Group
        from rich.live import Live as RichLive
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text
        self.make = Group, Panel, ProgressBar, Table, Text
        self.console = Console(highlight=False)
        self.live = RichLive(console=self.console, refresh_per_second=4, transient=False)
        self.draws = self.console.encoding.startswith("utf")
        self.started, self.shown = False, 0.0

    def say(self, text):
        self.console.print(visible(text), markup=False, soft_wrap=True)

    def show(self, status):
        if not self.started:
            self.live.start()
            self.started = True
        now = time.monotonic()
        if now - self.shown > 0.2:
            self.shown = now
            self.live.update(self.panel(status))

    def evaluated(self, status):
        self.shown = 0.0
        self.show(status)

    def panel(self, status):
        Group, Panel, ProgressBar, Table, Text = self.make
        r, width = status.record, min(90, self.console.width)
        grid = Table.grid(padding=(0, 2))
        rows = [("loss", f"{r.loss:.3f}", "smoothed", f"{status.smooth_loss:.3f} nats/token"),
                ("validation", "-" if status.val is None else f"{status.val:.3f}",
                 status.val_unit, sparkline(status.val_history) if self.draws else ""),
                ("speed", f"{status.tokens_s:,.0f}", "tokens/s",
                 f"{status.share_of_peak:.0%} of the matmul peak"),
                ("rate", f"{r.rate:.3f}", "of the highest", f"gradient norm {r.grad_norm:.2f}")]
        rows += [(name, f"{x:.3f}", "of this step", "") for name, x in r.notes.items()]
        rows += [(name, f"{x:+.3f}", "validation", "") for name, x in status.more.items()]
        for name, value, unit, more in rows:
            line = partial(Text, no_wrap=True, overflow="ellipsis")
            cells = (line(name, style="dim"), line(value, style="bold", justify="right"),
                     line(unit, style="dim"), line(more))
            grid.add_row(*cells[:4 if width >= WIDE else 3])
        bar = ProgressBar(total=status.steps, completed=r.step, width=None)
        head = Text(f"step {r.step:,} of {status.steps:,}, {duration(status.left_s)} left")
        parts = [head, bar, Text(), grid]
        if status.sample:
            lines = visible(status.sample).strip("\n").split("\n")[:8]
            parts += [Text(), Text("\n".join(lines), style="italic")]
        return Panel(Group(*parts), title="training", width=width)

    def close(self):
        if self.started:
            self.live.stop()


def sparkline(values, width=30):
    """Draw numbers as a row of small bars.

    >>> sparkline([3, 2, 1])
    '\u2588\u2585\u2581'
    """
    values = values[-width:]
    if not values:
        return ""
    low, span = min(values), (max(values) - min(values)) or 1
    return "".join("\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"[round((v - low) / span * 7)]
                   for v in values)
