"""A run: what changes while training, and what it is made from."""
import math
from dataclasses import dataclass, field

import numpy as np

from gpt.batch import Batch, Held
from gpt.data.documents import Dataset
from gpt.models.lora import Part, dropping
from gpt.models.states import States
from gpt.settings import ConfigError
from gpt.training.config import Config
from gpt.training.judges import judge_sha256
from gpt.training.layers import freeze, rates, thaw
from gpt.training.plan import Plan, batch_shape
from gpt.training.step import OneProcess
from gpt.training.task import read
from gpt.training.tasks import TASKS, check_match
from gpt.training.tasks.causal import has_no_end
from minigrad.nn import Module
from minigrad.optim import AdamW
from minigrad.optim.muon import Muon


SEALS = "base_sha256", "beside_sha256", "judge_sha256"


@dataclass
class Run:
    """What changes while training, and what it is made from."""

    config: Config
    data: Dataset
    model: Module
    plan: Plan
    step: int = 0
    best_loss: float = math.inf    # on the validation part
    best_step: int = 0
    optimizers: list = field(default_factory=list)
    carried: States | None = None  # what the net remembers of the batch before, if that is asked
    learnt: list = field(default_factory=list)     # what learns, now or later in the run
    obstacle: str | None = None    # what keeps its steps from being replayed
    base_sha256: str | None = None        # of the weights that it began from, if it did
    beside: Module | None = None          # a frozen model that its task asks
    beside_sha256: str | None = None
    judge_sha256: str | None = None       # of the file that judges answers, if one does
    held: Held | None = None       # the batch that several steps learn from, if they do
    way: object = None             # who does the work of a step: this process, or several

    @classmethod
    def start(cls, config, data, plan, dtype=np.float32, weights=None, base_sha256=None):
        """Make a run with new weights, or with those of a base.

        Parameters
        ----------
        config : Config
        data : Dataset
        plan : Plan
        dtype : dtype
            Of the weights.
        weights : dict of str to array, optional
            What the task and adapters add is new all the same.
        base_sha256 : str, optional
            Of these weights.

        Raises
        ------
        ConfigError
            If the net cannot learn the task, nothing is left to learn, or no state can be carried.
        """
        check_asked(config)
        rng = np.random.default_rng(config.train.seed)
        if weights:
            model = config.net_from(weights, rng, dtype)
        else:
            model = config.new_net(rng, dtype)
            freeze(model, config.train)
        optimizers = make_optimizers(model, config.train)
        run = cls(config, data, model, plan, optimizers=optimizers, base_sha256=base_sha256)
        if not run.trained:
            raise ConfigError(f"freeze is {config.train.freeze!r}, and nothing is left to learn: "
                              "name fewer parameters")
        run.learnt = run.trained
        if config.train.carry_state:
            run.carried = state_to_carry(config, model)
        if run.task.again(config.train) > 1:
            run.held = Held()
        run.judge_sha256 = judge_sha256(config.train.reward)
        run.way = OneProcess(run)
        return run

    @property
    def task(self):
        return TASKS[self.config.train.task]

    @property
    def trained(self):
        """The parameters that learn now, those that require a gradient."""
        return [x for x in self.model.parameters() if x.requires_grad]

    def thaw(self):
        """Let those layers learn whose time has come; tell whether they are others than before."""
        progress, unfreeze = self.plan.progress(self.step), self.config.train.unfreeze
        return thaw(self.model, self.learnt, progress, unfreeze)

    @property
    def precision(self):
        """In what its steps multiply large matrices; in float32 until that is chosen."""
        asked = self.config.train.precision
        return "float32" if asked == "auto" else asked

    @property
    def width(self):
        """The tokens of the longest rows."""
        return self.data.width(self.config.model.context_length)

    def micro_batch(self, batch):
        """Return how many rows of a batch are taken at a time."""
        longest = max(1, self.width // batch.width)                        # of shorter rows more
        return self.config.train.micro_batch * longest or len(batch.ids)

    def batch(self, rng):
        """Return the batch of the step to come, which follows from its number and the rng."""
        progress = self.plan.progress(self.step)
        shape = batch_shape(self.config.train, self.width, progress)
        if self.carried:
            return self.task.carried(self.data, shape, self.step)
        if self.held is None:
            return self.drawn(shape, rng)
        if self.step % self.task.again(self.config.train) == 0:
            self.held.batch = self.drawn(shape, rng)
        return self.held.batch

    def drawn(self, shape, rng):
        """Return a batch of a shape, which follows from the rng."""
        options = self.named(self.task.options)
        if self.beside:
            options["beside"] = self.beside
        if self.task.asks:
            options["by_rows"] = self.way.by_rows
        return self.task.batch(self.data, shape, rng, self.model, **options)

    def named(self, names):
        """Return settings of training by name."""
        return {name: getattr(self.config.train, name) for name in names}

    def loss(self, batch, n, rng=None):
        """Return the loss of a part of a step that has n targets in all, a Tensor."""
        goes_on = self.carried and batch.rows is not None
        carried = {"state": self.carried.at(batch.rows)} if goes_on else {}
        with dropping(self.model, rng):
            weighs = self.named(self.task.weighs)
            return self.task.loss(self.model, batch, n, rng, **carried, **weighs)

    def measures(self):
        """Yield what is measured on the validation part, some windows at a time: `Measure`."""
        how = self.named(self.task.measured)
        return self.task.measure(self.model, self.data, self.data.val, **how)

    def evaluate(self):
        """Measure on a part of the validation text, and remember which step was the best."""
        found = read(self.measures(), self.config.train.eval_tokens)
        if found.nats_per_token < self.best_loss:
            self.best_loss, self.best_step = found.nats_per_token, self.step
        return found

    def copy(self):
        """Make a run of the same settings, to try its steps without end."""
        config = self.config.changed(unfreeze=0.0)        # most steps are those of all layers
        adapts = self.config.train.lora_rank > 0
        with self.way.at_hand(all_of_it=adapts):
            weights = self.model.state_dict() if adapts else None
            other = self.start(config, self.data, Plan.fixed(1_000_000), weights=weights)
        other.beside, other.way = self.beside, self.way.on(other)
        return other

    def tensors(self):
        """Return all that a checkpoint holds, by name."""
        return self.way.tensors()

    def parts(self):
        """Return what has tensors, by the name that stands before theirs."""
        optimizers = {f"optimizer{i}": x for i, x in enumerate(self.optimizers)}
        carried = {"carried": self.carried} if self.carried else {}
        held = {"held": self.held} if self.held else {}
        return {"model": self.kept, **optimizers, **carried, **held}

    @property
    def kept(self):
        """What a checkpoint holds of the net: all, or with adapters what learns beside the base."""
        if not self.config.train.lora_rank:
            return self.model
        learnt = {*self.learnt}
        return Part(self.model, lambda name, x: x in learnt)

    def facts(self):
        """Return the rest of it."""
        return {"config": self.config.to_dict(),
                "plan": str(self.plan),
                "tokenizer": self.data.tokenizer.fingerprint(),
                "data_sha256": self.data.sha256,
                "best_loss": self.best_loss if self.best_step else None,
                "best_step": self.best_step,
                **{name: getattr(self, name) for name in SEALS if getattr(self, name)}}

    @classmethod
    def resume(cls, tensors, facts, data, weights=None):
        """Make the run that a checkpoint was written by, from what `checkpoint.load` returns.

        A checkpoint of adapters needs the weights of their base, too.

        Raises
        ------
        ConfigError
            If the tokenizer is another one, or the settings are of no version that is known.
        """
        if facts["tokenizer"] != data.tokenizer.fingerprint():
            raise ConfigError("the checkpoint was trained with another tokenizer than the one in "
                              "its folder: put tokenizer.json back")
        config, plan = Config.from_dict(facts["config"]), Plan.parse(facts["plan"])
        run = cls.start(config, data, plan, weights=weights)
        if facts.get("judge_sha256", run.judge_sha256) != run.judge_sha256:
            raise ConfigError(f"the judge {config.train.reward} is not as this run began with: put "
                              "that back, or begin a new run")
        for name in SEALS:
            setattr(run, name, facts.get(name))
        run.way.load(tensors)
        run.step, run.best_step = facts["step"], facts["best_step"]
        run.best_loss = math.inf if facts["best_loss"] is None else facts["best_loss"]
        return run


def check_asked(config):
    """Refuse settings that do not go with the net or the task."""
    train = config.train
    check_match(train.net, train.task, config.model)
    for task, row in TASKS.items():
        for name in row.settings - TASKS[train.task].settings:
            if getattr(train, name) != getattr(type(train), name):
                raise ConfigError(f"{name} is of the task {task}, but this run learns "
                                  f"{train.task}: leave it out")
    if train.recompute and not hasattr(config.model, "n_head"):
        raise ConfigError("recompute runs the blocks of a transformer twice, and the net "
                          f"{train.net} has none: leave it out")


def state_to_carry(config, model):
    """Return the state of as many sequences as a batch has, of which nothing has been read."""
    if not TASKS[config.train.task].carried or not has_no_end(model):
        raise ConfigError("carry_state needs a net whose state has one size, and the task causal: "
                          "leave it out, or take --net lstm")
    if config.train.context_growth:
        raise ConfigError("context_growth changes the number of sequences, carry_state goes on "
                          "with each: leave one of them out")
    B, _ = batch_shape(config.train, config.model.context_length, 0.0)
    return model.start(Batch(np.zeros((B, 1), np.int64)))


def make_optimizers(model, settings):
    """Give the matrices of the blocks to Muon, if it is asked for, and all else to AdamW.

    What AdamW holds decays if it has two axes or more; gains, biases and scalars do not.
    """
    named = [(name, x) for name, x in model.named_parameters() if x.requires_grad]
    matrices = [x for name, x in named if settings.optimizer == "muon"
                and ".blocks." in f".{name}" and x.ndim == 2]
    taken, share = set(matrices), rates(model, settings)
    rest = [x for _, x in named if x not in taken]
    tables = [x for x in rest if x.ndim >= 2]
    gains = [x for x in rest if x.ndim < 2]
    groups = by_rate(tables, share, settings.learning_rate)
    for group in by_rate(gains, share, settings.learning_rate):
        groups.append(group | {"weight_decay": 0.0})
    adamw = AdamW(groups, settings.learning_rate, betas=(settings.beta1, settings.beta2),
                  weight_decay=settings.weight_decay)
    if not matrices:
        return [adamw]
    groups = by_rate(matrices, share, settings.muon_learning_rate)
    return [adamw, Muon(groups, settings.muon_learning_rate, weight_decay=settings.weight_decay)]


def by_rate(parameters, shares, rate):
    """Make a group for the parameters of each rate."""
    groups = {}
    for x in parameters:
        groups.setdefault(shares[x], []).append(x)
    made = []
    for share, some in groups.items():
        made.append({"parameters": some, "learning_rate": rate * share})
    return made
