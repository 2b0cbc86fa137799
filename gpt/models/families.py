"""Families of published models, each a table of names and one of settings (see tables.py)."""
from gpt.models.rope import read_scaling, rope_from, rope_to
from gpt.models.tables import Family

# Options of `ModelConfig` that no published decoder has.
PUBLISHED = dict(qk_norm=False, embedding_norm=False, init="scaled")
HALVES = {"encoder": 1, "decoder": 2}         # of T5, and which of its sublayers is the MLP
TIED = {"lm_head.weight": "token_embedding.weight"}


# ---- decoders, as transformers has them ----

GPT2_NAMES = {
    "wte.weight": "token_embedding.weight",
    "wpe.weight": "position_embedding.weight",
    "h.{i}.ln_1.weight": "blocks.{i}.norm1.gain",
    "h.{i}.ln_1.bias": "blocks.{i}.norm1.bias",
    "h.{i}.attn.c_attn.weight": "blocks.{i}.attention.query_key_value.weight.T",
    "h.{i}.attn.c_attn.bias": "blocks.{i}.attention.query_key_value.bias",
    "h.{i}.attn.c_proj.weight": "blocks.{i}.attention.projection.weight.T",
    "h.{i}.attn.c_proj.bias": "blocks.{i}.attention.projection.bias",
    "h.{i}.ln_2.weight": "blocks.{i}.norm2.gain",
    "h.{i}.ln_2.bias": "blocks.{i}.norm2.bias",
    "h.{i}.mlp.c_fc.weight": "blocks.{i}.mlp.expand.weight.T",
    "h.{i}.mlp.c_fc.bias": "blocks.{i}.mlp.expand.bias",
    "h.{i}.mlp.c_proj.weight": "blocks.{i}.mlp.projection.weight.T",
    "h.{i}.mlp.c_proj.bias": "blocks.{i}.mlp.projection.bias",
    "ln_f.weight": "final_norm.gain",
    "ln_f.bias": "final_norm.bias",
    "lm_head.weight": "unembedding.weight"}
GPT2 = Family(
    names=GPT2_NAMES,
    settings={
        "vocab_size": "vocab_size", "n_positions": "context_length", "n_embd": "d_model",
        "n_layer": "n_layer", "n_head": "n_head", "n_inner": "d_mlp",
        "layer_norm_epsilon": "norm_eps", "tie_word_embeddings": "tie_weights",
        "activation_function": ("mlp", {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
                                        "gelu": "gelu", "relu": "relu", "silu": "silu"})},
    always=dict(PUBLISHED, position="learned", norm="layer", mlp="gelu_tanh", bias=True,
                tie_weights=True),
    known={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
           "add_cross_attention": False},
    copies=TIED, left_out=(r"h\.\d+\.attn\.(masked_)?bias",), prefixes=("transformer.",),
    architecture="GPT2LMHeadModel")

LLAMA_NAMES = {
    "model.embed_tokens.weight": "token_embedding.weight",
    "model.layers.{i}.input_layernorm.weight": "blocks.{i}.norm1.gain",
    "model.layers.{i}.self_attn.q_proj.weight": "blocks.{i}.attention.query_key_value.weight[q]",
    "model.layers.{i}.self_attn.k_proj.weight": "blocks.{i}.attention.query_key_value.weight[k]",
    "model.layers.{i}.self_attn.v_proj.weight": "blocks.{i}.attention.query_key_value.weight[v]",
    "model.layers.{i}.self_attn.o_proj.weight": "blocks.{i}.attention.projection.weight",
    "model.layers.{i}.self_attn.q_proj.bias": "blocks.{i}.attention.query_key_value.bias[q]",
    "model.layers.{i}.self_attn.k_proj.bias": "blocks.{i}.attention.query_key_value.bias[k]",
    "model.layers.{i}.self_attn.v_proj.bias": "blocks.{i}.attention.query_key_value.bias[v]",
    "model.layers.{i}.self_attn.q_norm.weight": "blocks.{i}.attention.query_gain",
    "model.layers.{i}.self_attn.k_norm.weight": "blocks.{i}.attention.key_gain",
    "model.layers.{i}.post_attention_layernorm.weight": "blocks.{i}.norm2.gain",
    "model.layers.{i}.mlp.gate_proj.weight": "blocks.{i}.mlp.expand.weight[gate]",
    "model.layers.{i}.mlp.up_proj.weight": "blocks.{i}.mlp.expand.weight[value]",
    "model.layers.{i}.mlp.down_proj.weight": "blocks.{i}.mlp.projection.weight",
    "model.norm.weight": "final_norm.gain",
    "lm_head.weight": "unembedding.weight"}
LLAMA = Family(
    names=LLAMA_NAMES,
    settings={
        "vocab_size": "vocab_size", "max_position_embeddings": "context_length",
        "hidden_size": "d_model", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head",
        "num_key_value_heads": "n_kv_head", "head_dim": "d_head", "intermediate_size": "d_mlp",
        "rms_norm_eps": "norm_eps", "rope_theta": "rope_theta", "rope_scaling": "rope_scaling",
        "tie_word_embeddings": "tie_weights", "hidden_act": ("mlp", {"silu": "swiglu"})},
    always=dict(PUBLISHED, position="rotary", norm="rms", norm_eps=1e-6, mlp="swiglu"),
    known={"attention_bias": False, "mlp_bias": False},
    copies=TIED, left_out=(r".*rotary_emb\.inv_freq",), prepare=rope_from, finish=rope_to,
    architecture="LlamaForCausalLM")

MISTRAL = LLAMA._replace(
    settings=LLAMA.settings | {"sliding_window": "window"},
    always=LLAMA.always | {"window": 4096, "n_kv_head": 8}, known={},
    architecture="MistralForCausalLM")
QWEN2 = LLAMA._replace(
    always=LLAMA.always | {"qkv_bias": True}, known={"use_sliding_window": False},
    architecture="Qwen2ForCausalLM")
QWEN3 = LLAMA._replace(
    always=LLAMA.always | {"qk_gain": True, "d_head": 128},
    known={"attention_bias": False, "use_sliding_window": False}, architecture="Qwen3ForCausalLM")
GEMMA = LLAMA._replace(
    names=LLAMA.names | {
        "model.layers.{i}.input_layernorm.weight": "blocks.{i}.norm1.gain+1",
        "model.layers.{i}.post_attention_layernorm.weight": "blocks.{i}.norm2.gain+1",
        "model.norm.weight": "final_norm.gain+1"},
    settings=LLAMA.settings | {"hidden_act": ("mlp", {"gelu_pytorch_tanh": "geglu",
                                                      "gelu": "geglu"})},
    always=LLAMA.always | {"mlp": "geglu", "embedding_scale": True, "tie_weights": True,
                           "d_head": 256},
    known={"attention_bias": False}, architecture="GemmaForCausalLM")


# ---- decoders, as a GGUF has them ----

BLOCK_GGUF = {
    "token_embd.weight": "token_embedding.weight",
    "blk.{i}.attn_norm.weight": "blocks.{i}.norm1.gain",
    "blk.{i}.attn_q.weight": "blocks.{i}.attention.query_key_value.weight[q]",
    "blk.{i}.attn_k.weight": "blocks.{i}.attention.query_key_value.weight[k]",
    "blk.{i}.attn_v.weight": "blocks.{i}.attention.query_key_value.weight[v]",
    "blk.{i}.attn_q.bias": "blocks.{i}.attention.query_key_value.bias[q]",
    "blk.{i}.attn_k.bias": "blocks.{i}.attention.query_key_value.bias[k]",
    "blk.{i}.attn_v.bias": "blocks.{i}.attention.query_key_value.bias[v]",
    "blk.{i}.attn_q_norm.weight": "blocks.{i}.attention.query_gain",
    "blk.{i}.attn_k_norm.weight": "blocks.{i}.attention.key_gain",
    "blk.{i}.attn_output.weight": "blocks.{i}.attention.projection.weight",
    "blk.{i}.ffn_norm.weight": "blocks.{i}.norm2.gain",
    "blk.{i}.ffn_gate.weight": "blocks.{i}.mlp.expand.weight[gate]",
    "blk.{i}.ffn_up.weight": "blocks.{i}.mlp.expand.weight[value]",
    "blk.{i}.ffn_down.weight": "blocks.{i}.mlp.projection.weight",
    "output_norm.weight": "final_norm.gain",
    "output.weight": "unembedding.weight"}
SETTINGS_GGUF = {
    "vocab_size": "vocab_size", "context_length": "context_length",
    "embedding_length": "d_model", "block_count": "n_layer", "attention.head_count": "n_head",
    "attention.head_count_kv": "n_kv_head", "attention.key_length": "d_head",
    "feed_forward_length": "d_mlp", "attention.layer_norm_rms_epsilon": "norm_eps",
    "rope.freq_base": "rope_theta", "rope_scaling": "rope_scaling",
    "attention.sliding_window": "window", "tie_weights": "tie_weights"}


def rope_from_gguf(theirs):
    """Return rope_scaling as we have it, where theirs is linear."""
    linear = theirs.get("rope.scaling.type") == "linear"
    return {"rope_scaling": f"linear:{theirs.get('rope.scaling.factor')}"} if linear else {}


def rope_to_gguf(config):
    """Undo `rope_from_gguf`."""
    kind, numbers = read_scaling(config.rope_scaling)
    linear = kind == "linear"
    return {"rope.scaling.type": kind, "rope.scaling.factor": numbers[0]} if linear else {}


TIED_GGUF = {"output.weight": "token_embedding.weight"}

SPELLED_GGUF = dict(names=BLOCK_GGUF, settings=SETTINGS_GGUF, known={"expert_count": 0},
                    copies=TIED_GGUF, prepare=rope_from_gguf, finish=rope_to_gguf,
                    left_out=(r"rope_freqs\.weight",),
                    signs={"qkv_bias": "blk.0.attn_q.bias"})
QWEN2_GGUF = QWEN2._replace(**SPELLED_GGUF)
QWEN3_GGUF = QWEN3._replace(**SPELLED_GGUF)
GEMMA_GGUF = GEMMA._replace(**SPELLED_GGUF)
LLAMA_GGUF = LLAMA._replace(**SPELLED_GGUF | {"names": BLOCK_GGUF | {
    f"blk.{{i}}.attn_{x}.{kind}": f"blocks.{{i}}.attention.query_key_value.{kind}[{x}:interleaved]"
    for x in "qk" for kind in ("weight", "bias")}})
GPT2_GGUF = GPT2._replace(
    names={
        "token_embd.weight": "token_embedding.weight",
        "position_embd.weight": "position_embedding.weight",
        "blk.{i}.attn_norm.weight": "blocks.{i}.norm1.gain",
        "blk.{i}.attn_norm.bias": "blocks.{i}.norm1.bias",
        "blk.{i}.attn_qkv.weight": "blocks.{i}.attention.query_key_value.weight",
        "blk.{i}.attn_qkv.bias": "blocks.{i}.attention.query_key_value.bias",
        "blk.{i}.attn_output.weight": "blocks.{i}.attention.projection.weight",
        "blk.{i}.attn_output.bias": "blocks.{i}.attention.projection.bias",
        "blk.{i}.ffn_norm.weight": "blocks.{i}.norm2.gain",
        "blk.{i}.ffn_norm.bias": "blocks.{i}.norm2.bias",
        "blk.{i}.ffn_up.weight": "blocks.{i}.mlp.expand.weight",
        "blk.{i}.ffn_up.bias": "blocks.{i}.mlp.expand.bias",
        "blk.{i}.ffn_down.weight": "blocks.{i}.mlp.projection.weight",
        "blk.{i}.ffn_down.bias": "blocks.{i}.mlp.projection.bias",
        "output_norm.weight": "final_norm.gain",
        "output_norm.bias": "final_norm.bias",
        "output.weight": "unembedding.weight"},
    settings={name: ours for name, ours in SETTINGS_GGUF.items()
              if ours not in ("n_kv_head", "d_head", "norm_eps", "rope_theta", "rope_scaling",
                              "window")}
             | {"attention.layer_norm_epsilon": "norm_eps"},
    known={}, copies=TIED_GGUF, prefixes=())


# ---- encoders ----

def both(table):
    """Write out rows of a weight and a bias each: of ours, * is their name; weights of norms, gain.
    """
    rows = {}
    for theirs, ours in table.items():
        weight = "gain" if "norm" in ours else "weight"
        rows[f"{theirs}.weight"] = ours.replace("*", weight)
        rows[f"{theirs}.bias"] = ours.replace("*", "bias")
    return rows


BERT_BODY = {
    "embeddings.word_embeddings.weight": "trunk.token_embedding.weight",
    "embeddings.position_embeddings.weight": "trunk.position_embedding.weight",
    "embeddings.token_type_embeddings.weight": "trunk.segment_embedding.weight"} | both({
        "embeddings.LayerNorm": "trunk.embedding_norm.*",
        "encoder.layer.{i}.attention.self.query": "trunk.blocks.{i}.attention.query_key_value.*[q]",
        "encoder.layer.{i}.attention.self.key": "trunk.blocks.{i}.attention.query_key_value.*[k]",
        "encoder.layer.{i}.attention.self.value": "trunk.blocks.{i}.attention.query_key_value.*[v]",
        "encoder.layer.{i}.attention.output.dense": "trunk.blocks.{i}.attention.projection.*",
        "encoder.layer.{i}.attention.output.LayerNorm": "trunk.blocks.{i}.norm1.*",
        "encoder.layer.{i}.intermediate.dense": "trunk.blocks.{i}.mlp.expand.*",
        "encoder.layer.{i}.output.dense": "trunk.blocks.{i}.mlp.projection.*",
        "encoder.layer.{i}.output.LayerNorm": "trunk.blocks.{i}.norm2.*"})
BERT = Family(
    names=BERT_BODY | {"cls.predictions.bias": "bias"} | both({
        "cls.predictions.transform.dense": "dense.*",
        "cls.predictions.transform.LayerNorm": "norm.*"}),
    settings={
        "vocab_size": "vocab_size", "max_position_embeddings": "context_length",
        "hidden_size": "d_model", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head",
        "intermediate_size": "d_mlp", "type_vocab_size": "n_segment", "layer_norm_eps": "norm_eps",
        "hidden_act": ("mlp", {"gelu": "gelu", "gelu_new": "gelu_tanh", "relu": "relu"})},
    always=dict(PUBLISHED, position="learned", norm="layer", norm_position="post", bias=True,
                mlp="gelu", norm_eps=1e-12, tie_weights=True, embedding_gain=True, n_segment=2,
                causal=False),
    known={"position_embedding_type": "absolute", "is_decoder": False},
    copies={"cls.predictions.decoder.weight": "trunk.token_embedding.weight",
            "cls.predictions.decoder.bias": "bias"},
    left_out=(r"pooler\..*", r"embeddings\.position_ids", r"cls\.seq_relationship\..*"),
    signs={"transform": "cls.predictions.transform.dense.weight"}, prefixes=("bert.",),
    net="encoder", architecture="BertForMaskedLM")


def roberta_from(theirs):
    """Count the positions of a text: the rows before the first do not."""
    rows = theirs.get("max_position_embeddings", 514)
    return {"max_position_embeddings": rows - 2 if isinstance(rows, int) else rows}


ROBERTA = BERT._replace(
    names=BERT_BODY | {"lm_head.bias": "bias"} | both({
        "lm_head.dense": "dense.*", "lm_head.layer_norm": "norm.*"}),
    always=BERT.always | {"position_offset": 2},
    known=BERT.known | {"pad_token_id": 1},
    copies={"lm_head.decoder.weight": "trunk.token_embedding.weight",
            "lm_head.decoder.bias": "bias"},
    signs={"transform": "lm_head.dense.weight"}, prepare=roberta_from, prefixes=("roberta.",),
    architecture="RobertaForMaskedLM")


# ---- encoder-decoders ----

def t5_from(theirs):
    """Say what older settings leave out."""
    tied = theirs.get("tie_word_embeddings", True)
    return {"scale_decoder_outputs": theirs.get("scale_decoder_outputs", tied),
            "num_decoder_layers": theirs.get("num_decoder_layers", theirs.get("num_layers"))}


T5 = Family(
    names={
        "shared.weight": "encoder.token_embedding.weight",
        "lm_head.weight": "decoder.unembedding.weight"} | {
        f"{half}.final_layer_norm.weight": f"{half}.final_norm.gain" for half in HALVES} | {
        f"{half}.block.0.layer.0.SelfAttention.relative_attention_bias.weight":
            f"{half}.relative_bias.table" for half in HALVES} | {
        f"{half}.block.{{i}}.layer.{theirs}": f"{half}.blocks.{{i}}.{ours}"
        for half, mlp in HALVES.items() for theirs, ours in {
            "0.layer_norm.weight": "norm1.gain",
            "0.SelfAttention.q.weight": "attention.query_key_value.weight[q]",
            "0.SelfAttention.k.weight": "attention.query_key_value.weight[k]",
            "0.SelfAttention.v.weight": "attention.query_key_value.weight[v]",
            "0.SelfAttention.o.weight": "attention.projection.weight",
            "1.EncDecAttention.q.weight": "cross.query.weight",
            "1.EncDecAttention.k.weight": "cross.key_value.weight[keys]",
            "1.EncDecAttention.v.weight": "cross.key_value.weight[values]",
            "1.EncDecAttention.o.weight": "cross.projection.weight",
            f"{3 - mlp}.layer_norm.weight": "cross_norm.gain",
            f"{mlp}.layer_norm.weight": "norm2.gain",
            f"{mlp}.DenseReluDense.wi.weight": "mlp.expand.weight[whole]",
            f"{mlp}.DenseReluDense.wi_0.weight": "mlp.expand.weight[gate]",
            f"{mlp}.DenseReluDense.wi_1.weight": "mlp.expand.weight[value]",
            f"{mlp}.DenseReluDense.wo.weight": "mlp.projection.weight"}.items()},
    settings={
        "vocab_size": "vocab_size", "n_positions": "context_length", "d_model": "d_model",
        "d_kv": "d_head", "d_ff": "d_mlp", "num_layers": "n_encoder_layer",
        "num_decoder_layers": "n_layer", "num_heads": "n_head", "layer_norm_epsilon": "norm_eps",
        "relative_attention_num_buckets": "relative_buckets",
        "relative_attention_max_distance": "relative_distance",
        "tie_word_embeddings": "tie_weights", "scale_decoder_outputs": "logit_scale",
        "feed_forward_proj": ("mlp", {"relu": "relu", "gated-gelu": "geglu",
                                      "gated-silu": "swiglu"})},
    always=dict(PUBLISHED, position="relative", context_length=512, norm="rms", norm_eps=1e-6,
                mlp="relu", score_scale=False, tie_weights=True),
    copies={"encoder.embed_tokens.weight": "encoder.token_embedding.weight",
            "decoder.embed_tokens.weight": "encoder.token_embedding.weight",
            "lm_head.weight": "encoder.token_embedding.weight"},
    left_out=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    prepare=t5_from, net="encoder_decoder", architecture="T5ForConditionalGeneration")


BART = Family(
    names={"model.shared.weight": "encoder.token_embedding.weight"} | {
        f"model.{half}.embed_positions.weight": f"{half}.position_embedding.weight"
        for half in HALVES} | both({
            f"model.{half}.layernorm_embedding": f"{half}.embedding_norm.*" for half in HALVES} | {
            f"model.{half}.layers.{{i}}.{theirs}": f"{half}.blocks.{{i}}.{ours}"
            for half in HALVES for theirs, ours in {
                "self_attn.q_proj": "attention.query_key_value.*[q]",
                "self_attn.k_proj": "attention.query_key_value.*[k]",
                "self_attn.v_proj": "attention.query_key_value.*[v]",
                "self_attn.out_proj": "attention.projection.*",
                "self_attn_layer_norm": "norm1.*",
                "encoder_attn.q_proj": "cross.query.*",
                "encoder_attn.k_proj": "cross.key_value.*[keys]",
                "encoder_attn.v_proj": "cross.key_value.*[values]",
                "encoder_attn.out_proj": "cross.projection.*",
                "encoder_attn_layer_norm": "cross_norm.*",
                "fc1": "mlp.expand.*", "fc2": "mlp.projection.*",
                "final_layer_norm": "norm2.*"}.items()}),
    settings={
        "vocab_size": "vocab_size", "max_position_embeddings": "context_length",
        "d_model": "d_model", "encoder_layers": "n_encoder_layer", "decoder_layers": "n_layer",
        "encoder_attention_heads": "n_head", "decoder_attention_heads": "n_head",
        "encoder_ffn_dim": "d_mlp", "decoder_ffn_dim": "d_mlp",
        "activation_function": ("mlp", {"gelu": "gelu", "relu": "relu"})},
    always=dict(PUBLISHED, position="learned", position_offset=2, norm="layer", mlp="gelu",
                norm_position="post", bias=True, tie_weights=True, embedding_gain=True),
    known={"scale_embedding": False},
    copies={"final_logits_bias": None} | {
        f"{name}.weight": "encoder.token_embedding.weight"
        for name in ("model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")},
    net="encoder_decoder", architecture="BartForConditionalGeneration")


# What a file calls its kind -> its family: "model_type" in config.json; "general.architecture".
HUGGINGFACE = {"gpt2": GPT2, "llama": LLAMA, "mistral": MISTRAL, "qwen2": QWEN2, "qwen3": QWEN3,
               "gemma": GEMMA, "bert": BERT, "roberta": ROBERTA, "t5": T5,
               "bart": BART}
GGUF = {"gpt2": GPT2_GGUF, "llama": LLAMA_GGUF, "qwen2": QWEN2_GGUF, "qwen3": QWEN3_GGUF,
        "gemma": GEMMA_GGUF}
