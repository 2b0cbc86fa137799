"""The shape of a net, one line a field: the command line, its help and the docs come from here."""
from dataclasses import dataclass

from gpt.settings import ConfigError, check_limits, setting


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the model: the preset `fast`, where time and text do not choose otherwise."""

    vocab_size: int = setting(256, "number of tokens", at_least=1)           # V
    context_length: int = setting(128, "tokens the model looks back on", at_least=1)   # T, at most
    n_layer: int = setting(6, "blocks", at_least=1)                              # L
    n_head: int = setting(3, "attention heads", at_least=1)                      # H
    n_kv_head: int = setting(0, "key and value heads, each shared by n_head / n_kv_head query "
                             "heads (arXiv:2305.13245); 0 for n_head", at_least=0)
    d_model: int = setting(192, "width of the residual stream", at_least=1)    # C
    d_mlp: int = setting(0, "width of the MLP; 0 for 4 d_model, 8/3 d_model with swiglu",
                         at_least=0)
    position: str = setting("rotary", "learned (GPT-2), sinusoidal (arXiv:1706.03762), rotary "
                            "(arXiv:2104.09864), none",
                            ("learned", "sinusoidal", "rotary", "none"))
    norm: str = setting("rms_gainless", "layer (arXiv:1607.06450), rms (arXiv:1910.07467), "
                        "rms_gainless: without a gain", ("layer", "rms", "rms_gainless"))
    norm_position: str = setting("pre", "before each sublayer (arXiv:2002.04745), or after it",
                                 ("pre", "post"))
    qk_norm: bool = setting(True, "RMS-normalize queries and keys (arXiv:2010.04245)")
    mlp: str = setting("relu_squared", "gelu (arXiv:1606.08415) or its tanh form gelu_tanh, "
                       "relu_squared (arXiv:2109.08668), silu, swiglu (arXiv:2002.05202)",
                       ("gelu", "gelu_tanh", "relu_squared", "silu", "swiglu"))
    bias: bool = setting(False, "biases in the linear layers and layer norms")
    tie_weights: bool = setting(False, "share the token embedding and the unembedding "
                                "(arXiv:1608.05859)")
    init: str = setting("zero", "of the output projections: zero (arXiv:1901.09321), or scaled "
                        "by 1/sqrt(2 n_layer) as in GPT-2", ("zero", "scaled"))
    ngram_rows: int = setting(0, "rows of a hashed table of bigram embeddings, and as many for "
                              "trigrams (arXiv:2106.12672); 0 for none", at_least=0)
    embedding_norm: bool = setting(True, "RMS-normalize the embedding before the first block")
    causal: bool = setting(True, "let a token see only those before it")
    dropout: float = setting(0.0, "rate of dropout in training", at_least=0, below=1)

    def __post_init__(self):
        check_limits(self)
        if self.d_model % self.n_head:
            below = self.d_model - self.d_model % self.n_head
            raise ConfigError(f"d_model is {self.d_model}, which {self.n_head} heads cannot share "
                              f"equally: use {f'{below} or ' if below else ''}"
                              f"{below + self.n_head}")
        if self.n_head % self.kv_heads:
            raise ConfigError(f"n_head is {self.n_head}, not a multiple of n_kv_head "
                              f"{self.n_kv_head}: use {self.n_head} or 1 key heads")
        if self.position == "rotary" and self.d_head % 2:
            raise ConfigError(f"rotary positions pair features, but each head has {self.d_head}: "
                              f"use d_model {self.d_model + self.n_head} or other positions")

    @property
    def d_head(self):
        return self.d_model // self.n_head                     # D

    @property
    def kv_heads(self):
        return self.n_kv_head or self.n_head                    # G

    @property
    def mlp_width(self):
        if self.d_mlp:
            return self.d_mlp
        if self.mlp == "swiglu":
            return -(-8 * self.d_model // 3 // 16) * 16       # 2/3 of 4 d_model: 3 matrices, not 2
        return 4 * self.d_model                                 # F
