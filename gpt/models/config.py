"""The shape of a net, one line a field: the command line, its help and the docs come from here."""
from dataclasses import dataclass

from gpt.models.rope import read_scaling
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
    d_head: int = setting(0, "width of a head; 0 for d_model / n_head", at_least=0)      # D
    d_mlp: int = setting(0, "width of the MLP; 0 for 4 d_model, 8/3 d_model with swiglu or geglu",
                         at_least=0)
    position: str = setting("rotary", "learned (GPT-2), sinusoidal (arXiv:1706.03762), rotary "
                            "(arXiv:2104.09864), relative (T5, arXiv:1910.10683), none",
                            ("learned", "sinusoidal", "rotary", "relative", "none"))
    position_offset: int = setting(0, "rows of a learned table before that of the first position",
                                   at_least=0)
    relative_buckets: int = setting(32, "kinds of distances that relative positions tell apart",
                                    at_least=4)
    relative_distance: int = setting(128, "from where on all are far to them", at_least=2)
    rope_theta: float = setting(10_000.0, "base of the angles of rotary positions", above=0)
    rope_scaling: str = setting("", "how they were stretched to longer texts: linear:FACTOR "
                                "(arXiv:2306.15595), or llama3:FACTOR:LOW:HIGH:CONTEXT as in "
                                "Llama 3.1 (arXiv:2407.21783); empty for not")
    window: int = setting(0, "tokens that attention looks back on, the token itself included "
                          "(arXiv:2310.06825); 0 for all", at_least=0)
    norm: str = setting("rms_gainless", "layer (arXiv:1607.06450), rms (arXiv:1910.07467), "
                        "rms_gainless: without a gain", ("layer", "rms", "rms_gainless"))
    norm_eps: float = setting(1e-5, "what norms add to the mean square", at_least=0)
    norm_position: str = setting("pre", "before each sublayer (arXiv:2002.04745), or after it",
                                 ("pre", "post"))
    qk_norm: bool = setting(True, "RMS-normalize queries and keys (arXiv:2010.04245)")
    qk_gain: bool = setting(False, "RMS-normalize them with gains, as in Qwen3 (arXiv:2505.09388)")
    mlp: str = setting("relu_squared", "gelu (arXiv:1606.08415) or its tanh form gelu_tanh, "
                       "relu, relu_squared (arXiv:2109.08668), silu; gated: swiglu and geglu, with "
                       "the tanh form (arXiv:2002.05202)",
                       ("gelu", "gelu_tanh", "relu", "relu_squared", "silu", "swiglu", "geglu"))
    bias: bool = setting(False, "biases in the linear layers and layer norms")
    score_scale: bool = setting(True, "divide the scores of attention by sqrt(d_head)")
    qkv_bias: bool = setting(False, "biases of queries, keys and values alone, as in Qwen2 "
                             "(arXiv:2407.10671)")
    tie_weights: bool = setting(False, "share the token embedding and the unembedding "
                                "(arXiv:1608.05859)")
    logit_scale: bool = setting(False, "divide the logits by sqrt(d_model), as T5 does where its "
                                "weights are tied")
    init: str = setting("zero", "of the output projections: zero (arXiv:1901.09321); scaled by "
                        "1/sqrt(2 n_layer) as in GPT-2; or looking, which is zero, and biases let "
                        "the heads of the first block begin by looking at the last tokens",
                        ("zero", "scaled", "looking"))
    look_back: int = setting(0, "tokens before each whose embeddings, a table for each distance, "
                             "are added to its own; 0 for none", at_least=0)
    ngram_rows: int = setting(0, "rows of a hashed table of bigram embeddings, and as many for "
                              "trigrams (arXiv:2106.12672); 0 for none", at_least=0)
    embedding_norm: bool = setting(True, "RMS-normalize the embedding before the first block")
    embedding_gain: bool = setting(False, "normalize the embedding as all else is, as in BERT "
                                   "(arXiv:1810.04805)")
    embedding_scale: bool = setting(False, "multiply the embedding by sqrt(d_model), as in Gemma "
                                    "(arXiv:2403.08295)")
    n_segment: int = setting(0, "kinds of segments with embeddings, as in BERT; 0 for none",
                             at_least=0)
    transform: bool = setting(False, "a layer more before the unembedding of an encoder, as BERT "
                              "has it")
    n_encoder_layer: int = setting(0, "blocks of the encoder before a decoder; 0 for n_layer",
                                   at_least=0)
    causal: bool = setting(True, "let a token see only those before it")
    document_end: int = setting(-1, "id of the token behind which none sees what came before it; "
                                "-1 for none", at_least=-1)
    dropout: float = setting(0.0, "rate of dropout in training", at_least=0, below=1)

    def __post_init__(self):
        check_limits(self)
        read_scaling(self.rope_scaling)
        if not self.d_head and self.d_model % self.n_head:
            below = self.d_model - self.d_model % self.n_head
            raise ConfigError(f"d_model is {self.d_model}, which {self.n_head} heads cannot share "
                              f"equally: use {f'{below} or ' if below else ''}"
                              f"{below + self.n_head}")
        if self.n_head % self.kv_heads:
            raise ConfigError(f"n_head is {self.n_head}, not a multiple of n_kv_head "
                              f"{self.n_kv_head}: use {self.n_head} or 1 key heads")
        if self.head_width % 2 and (self.position == "rotary" or self.qk_norm):
            raise ConfigError(f"rotary positions and qk_norm pair features, but each head has "
                              f"{self.head_width}: use d_head {self.head_width + 1}, or other "
                              f"positions without qk_norm")
        if self.document_end >= 0 and self.position in ("learned", "sinusoidal"):
            raise ConfigError(f"with document_mask a text begins anew in the middle, and positions "
                              f"that are {self.position} count from elsewhere: use rotary ones")
        biased = (self.bias or self.qkv_bias) and not self.qk_norm
        if self.init == "looking" and not (biased and self.position == "rotary"):
            raise ConfigError("init is 'looking', which takes biases of queries and keys that are "
                              "turned by rotary positions and not normalised: use --qkv_bias "
                              "--no_qk_norm, or --init zero")
        if self.position == "relative" and self.relative_distance <= self.relative_buckets // 2:
            raise ConfigError(f"relative_distance is {self.relative_distance}, but of "
                              f"{self.relative_buckets} relative_buckets half tell near ones "
                              f"apart: use more than {self.relative_buckets // 2}")

    @property
    def head_width(self):
        return self.d_head or self.d_model // self.n_head      # D

    @property
    def kv_heads(self):
        return self.n_kv_head or self.n_head                    # G

    @property
    def mlp_width(self):
        if self.d_mlp:
            return self.d_mlp
        if self.gated:
            return -(-8 * self.d_model // 3 // 16) * 16       # 2/3 of 4 d_model: 3 matrices, not 2
        return 4 * self.d_model                                 # F

    @property
    def gated(self):
        """Whether half of what the MLP expands to opens the other half."""
        return self.mlp in ("swiglu", "geglu")
