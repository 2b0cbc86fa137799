"""All settings of a run, and the presets that they begin with."""
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from gpt.data.templates import TEMPLATES
from gpt.models.classifier import POOLING
from gpt.models.config import ModelConfig
from gpt.models.lora import adapted
from gpt.models.nets import NETS, net_named
from gpt.models.unfilled import NoNumbers
from gpt.settings import ConfigError, check_limits, nearest, setting
from gpt.training.layers import freeze
from gpt.training.tasks import TASKS, matched, task_named


@dataclass(frozen=True)
class DataConfig:
    """What to learn from."""

    tokenizer: str = setting("auto", "bpe, char, byte, or the file of a trained bpe tokenizer")
    vocabulary: int = setting(0, "tokens that bpe learns; 0 to choose by the size of the text",
                              at_least=0)
    val_fraction: float = setting(0.1, "share of the text, at its end, held out to validate on",
                                  at_least=0.001, below=0.9)
    val: str = setting("", "a text of your own to validate on, a file, folder or glob; then "
                       "nothing is held out")
    document_mask: bool = setting(False, "let no document see what came before it, in a net of "
                                  "attention (arXiv:2402.13991)")
    canaries: bool = setting(False, "plant random strings in the text, so that the report can say "
                             "whether they are remembered (arXiv:1802.08232)")

    template: str = setting("", f"how conversations are written: {', '.join(TEMPLATES)}; unless "
                            "said, as the base says, or plain")
    loss_on: str = setting("answers", "what of a conversation is to be predicted",
                           ("answers", "all"))
    too_long: str = setting("refuse", "what to do about conversations longer than the context: "
                            "refuse the text, or cut them", ("refuse", "cut"))

    __post_init__ = check_limits

    @property
    def held_out(self):
        """The share of the text that is not learnt from."""
        return 0.0 if self.val else self.val_fraction


@dataclass(frozen=True)
class TrainConfig:
    """How to learn it."""

    net: str = setting("decoder", f"what learns: {', '.join(NETS)}")
    base: str = setting("", "a model to go on from: a run, a shared or published folder, a GGUF")
    task: str = setting("causal", f"what is learnt: {', '.join(TASKS)}")
    pooling: str = setting("concat", "what classify reads of a text: what the net says last, its "
                           "mean, its max, or all three", tuple(POOLING))
    labels: str = setting("", "of classify, in order, commas between; unless said, those there are")
    class_weights: str = setting("", "of classify: what a text of each label counts, in their "
                                 "order, commas between; or balanced, so that all labels count "
                                 "alike [1 each]")
    hidden: int = setting(0, "of classify: width of a hidden layer in the head; 0 for none",
                          at_least=0)
    beta: float = setting(0.1, "of prefer: how dear it is to leave the model that it begins with",
                          above=0)
    label_smoothing: float = setting(0.0, "of prefer: how often pairs are taken to be the wrong "
                                     "way around", at_least=0, below=0.5)
    teacher: str = setting("", "of distil: the model whose probabilities are learnt; a run, a "
                           "shared or published folder, a GGUF")
    teacher_top: int = setting(0, "of distil: how many likeliest tokens the teacher names, the "
                               "others being one; 0 for all", at_least=0)
    teacher_beside: bool = setting(False, "of distil: ask the teacher at each step, rather than "
                                   "once, and keep nothing on disk")
    mix: float = setting(0.9, "of distil: the share of the teacher in the loss", at_least=0,
                         at_most=1)
    temperature: float = setting(1.0, "of distil: what all scores are divided by; above 1, "
                                 "unlikely tokens count more", above=0)
    rule: str = setting("", "of prefer: FILE.py:function, by which the model makes pairs of its "
                        "own answers; the text has the prompts")
    prompts: int = setting(500, "of prefer with a rule: how many are answered twice", at_least=2)
    prompt_tokens: int = setting(16, "of prefer with a rule: of a prompt, where the text has no "
                                 "records", at_least=1)
    reward: str = setting("right", "of reward: who judges an answer: right, which compares it with "
                          "the record's output; random, the control; or FILE.py:function")
    samples: int = setting(16, "of reward: answers drawn to each prompt, which are compared",
                           at_least=2)
    answer_tokens: int = setting(32, "of reward, and of prefer with a rule: of an answer, at most",
                                 at_least=1)
    clip_ratio: float = setting(0.2, "of reward: by how much of itself a probability may change "
                                "before nothing more is won", above=0)
    kl: float = setting(0.0, "of reward: how dear it is to leave the model that it begins with",
                        at_least=0)
    updates: int = setting(1, "of reward: steps that learn from the same answers", at_least=1)
    mask_whole_words: bool = setting(False, "of masked: ask for all tokens of a word or none "
                                     "(arXiv:1906.08101)")
    minutes: float = setting(0.0, "time for the whole run; the steps are planned to fit",
                             at_least=0)
    steps: int = setting(0, "number of optimizer steps, instead of minutes", at_least=0)
    plan: str = setting("", "the plan.json of a run, to repeat it: all its settings, and its steps")
    batch_tokens: int = setting(2048, "tokens per optimizer step", at_least=1)
    micro_batch: int = setting(0, "sequences per forward pass, gradients being added up; 0 for "
                               "all that fit", at_least=0)
    recompute: bool = setting(False, "keep of each block its input alone, and compute it once more "
                              "on the way back: less memory, the same bits")
    precision: str = setting("auto", "in what a step multiplies large matrices: float32; bfloat16, "
                             "of 8 bits, with sums in float32; or auto, the latter where the "
                             "processor has AMX tiles or fast AVX512-BF16 for it",
                             ("auto", "float32", "bfloat16"))
    optimizer: str = setting("muon", "muon (Jordan et al. 2024) for the matrices with adamw "
                             "(arXiv:1711.05101) for the rest, or adamw for all",
                             ("muon", "adamw"))
    freeze: str = setting("", "parameters that do not learn: globs over their names, commas "
                          "between, such as '*embedding*,blocks.0.*'")
    lora_rank: int = setting(0, "of the adapters that learn in the place of a base's weights "
                             "(arXiv:2106.09685); 0 for none", at_least=0)
    lora_alpha: float = setting(0.0, "what they add is multiplied with lora_alpha / lora_rank; 0 "
                                "for twice the rank", at_least=0)
    lora_on: str = setting("*", "linear layers that get one: globs over their names, commas "
                           "between, such as '*attention*'")
    lora_dropout: float = setting(0.0, "rate of dropout on what adapters read", at_least=0,
                                  below=1)
    lora_beside: str = setting("", "parameters that learn whole beside them, as globs: "
                               "'*token_embedding*,*unembedding*' for words new to the base")
    divide_rates: float = setting(1.0, "what the rate is divided by from a layer to the one below, "
                                  "behind a head with ten times the rate (arXiv:1801.06146: 2.6)",
                                  at_least=1)
    unfreeze: float = setting(0.0, "share of the run in which one layer more learns after another, "
                              "from the top; before, all but the head is frozen", at_least=0,
                              at_most=1)
    learning_rate: float = setting(0.006, "of adamw, at its highest", above=0)
    muon_learning_rate: float = setting(0.03, "of muon, at its highest", above=0)
    schedule: str = setting("trapezoid", "of the learning rate after the warm-up: constant and "
                            "then linear to zero; cosine; or a slanted triangle, which rises for a "
                            "tenth of the run (arXiv:1801.06146)",
                            ("trapezoid", "cosine", "slanted"))
    warmup_steps: int = setting(20, "steps of linear warm-up", at_least=0)
    decay_fraction: float = setting(0.6, "share of the run in which a trapezoid decays",
                                    at_least=0, at_most=1)
    final_rate: float = setting(0.02, "the rate at the end, as a share of the highest",
                                at_least=0, at_most=1)
    weight_decay: float = setting(0.0, "decoupled weight decay of matrices", at_least=0)
    beta1: float = setting(0.8, "of adamw: memory of the gradient", at_least=0, below=1)
    beta2: float = setting(0.95, "of adamw: memory of its square", at_least=0, below=1)
    clip_norm: float = setting(1.0, "largest gradient norm; 0 for no clipping", at_least=0)
    carry_state: bool = setting(False, "let a batch go on where the one before it ended, with the "
                                "state that a recurrent or convolutional net had there")
    context_growth: bool = setting(False, "begin with a quarter of the context, in more sequences")
    evaluations: int = setting(20, "evaluations, samples and checkpoints in the run; fewer under "
                               "3 minutes", at_least=1)
    eval_every: int = setting(0, "steps between them, instead", at_least=0)
    eval_tokens: int = setting(16384, "validation tokens in those (fewer under 3 minutes); the "
                               "last one takes all, or what 5 % of the time allow", at_least=1)
    seed: int = setting(0, "of everything random", at_least=0)

    __post_init__ = check_limits


PRESETS = {
    "fast": {},
    "gpt2": dict(position="learned", norm="layer", qk_norm=False, mlp="gelu_tanh", bias=True,
                 tie_weights=True, init="scaled", embedding_norm=False,
                 optimizer="adamw", learning_rate=1e-3, schedule="cosine", warmup_steps=100,
                 final_rate=0.1, weight_decay=0.1, beta1=0.9, beta2=0.99),
    "llama": dict(norm="rms", qk_norm=False, mlp="swiglu", init="scaled",
                  embedding_norm=False, optimizer="adamw", learning_rate=2e-3, schedule="cosine",
                  warmup_steps=100, final_rate=0.1, weight_decay=0.1, beta1=0.9, beta2=0.95),
    "portable": dict(mlp="swiglu", norm="rms", qk_norm=False, qkv_bias=True, init="looking"),
}

SET_ANEW = "context_length", "dropout"     # of a net: what may differ from its base
OTHERS = {"data": DataConfig, "train": TrainConfig}


def parts_of(net):
    """Return the parts of a config with this net, by name: their dataclasses."""
    return {"model": net_named(net).config, **OTHERS}


def setting_names(net):
    """Return the names of all settings of a run with this net."""
    return [f.name for kind in parts_of(net).values() for f in fields(kind)]


def groups():
    """Yield (title, fields) for all settings there are, each once; nets share theirs by name."""
    seen = {"vocab_size", "document_end"}             # the tokenizer's
    kinds = [("model", net.config) for net in NETS.values()] + [*OTHERS.items()]
    for part, kind in kinds:
        new = [f for f in fields(kind) if f.name not in seen]
        seen.update(f.name for f in new)
        if new:
            yield f"{part}: {kind.__doc__.splitlines()[0]}", new


def grown(rows, n):
    """Return rows of a base, and as many behind them as make n: each is the mean of the others."""
    if len(rows) == n:
        return rows
    rows = np.asarray(rows)                           # (V, ...); of blocks their numbers
    mean = rows.mean(axis=0, dtype=np.float64, keepdims=True).astype(rows.dtype)
    return np.concatenate([rows, np.repeat(mean, n - len(rows), axis=0)])


GONE = {"stream_scalars": False}   # settings of earlier versions, and what did nothing


def without_gone(settings):
    """Leave out settings that have gone, if they did nothing."""
    for name, nothing in GONE.items():
        if settings.get(name, nothing) != nothing:
            raise ConfigError(f"this run used {name}, which is no longer there: go on with the "
                              "version that began it")
    return {name: value for name, value in settings.items() if name not in GONE}


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    model: object = ModelConfig()                     # of the class that the net has in NETS
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    preset: str = "fast"

    @classmethod
    def make(cls, preset="fast", **changes):
        """Make a config from a preset and settings by name, wherever they belong.

        Raises
        ------
        ConfigError
            If there is no such preset or setting, or a value is beyond its limits.
        """
        if preset not in PRESETS:
            raise ConfigError(f"there is no preset {preset!r}: choose {', '.join(PRESETS)}")
        changes = matched(changes)
        net = net_named(changes.get("net", cls.train.net))
        return cls(preset=preset).changed(**{**net.begins, **PRESETS[preset], **changes})

    def changed(self, **changes):
        """Return a copy with some settings changed, given by name.

        Raises
        ------
        ConfigError
            As `make` does.
        """
        net, parts = changes.get("net", self.train.net), {}
        for part, kind in parts_of(net).items():
            mine = {f.name: changes.pop(f.name) for f in fields(kind) if f.name in changes}
            before = getattr(self, part)
            parts[part] = replace(before if type(before) is kind else kind(), **mine)
        if changes:
            name = nearest(next(iter(changes)), setting_names(net))
            first = net == type(self).train.net
            nobody = "there is" if first else f"the net {net} has"
            raise ConfigError(f"{nobody} no setting {name}")
        return replace(self, **parts)

    def new_net(self, rng, dtype=np.float32):
        """Make the net that these settings describe, with new weights."""
        return self.fitted(net_named(self.train.net).module(self.model, rng, dtype), rng, dtype)

    def net_from(self, weights, rng, dtype=np.float32):
        """Make the net with weights of a base, by name; what the settings put on it is new.

        What stays as it is beside adapters are the base's own arrays, however they lie there.
        """
        unfilled = net_named(self.train.net).module(self.model, NoNumbers(), dtype)
        net = self.fitted(unfilled, rng, dtype)
        freeze(net, self.train)
        for name, x in net.named_parameters():
            if name in weights:
                own = x.requires_grad or not self.train.lora_rank
                known = grown(weights[name], len(x.data))
                x.data = np.array(known, dtype) if own else known
        return net

    def fitted(self, net, rng, dtype):
        """Put on a net what these settings add: the head of a task, and adapters."""
        train, task = self.train, task_named(self.train.task)
        net = task.fit(net, train, rng, dtype)
        if not train.lora_rank:
            return net
        but = (task.puts,) if task.puts else ()
        return adapted(net, train.lora_rank, train.lora_alpha, rng, train.lora_on,
                       train.lora_dropout, but)

    def to_dict(self):
        return asdict(self)

    @classmethod
    def from_dict(cls, settings):
        """Read what `to_dict` wrote, here or in an earlier version.

        Raises
        ------
        ConfigError
            If it used what is no longer there.
        """
        try:
            net = settings["train"].get("net", cls.train.net)    # earlier versions had but one
            parts = {part: kind(**without_gone(settings[part]))
                     for part, kind in parts_of(net).items()}
        except (KeyError, TypeError) as error:
            raise ConfigError(f"the settings are of another version of this program: {error}"
                              ) from error
        return cls(preset=settings["preset"], **parts)
