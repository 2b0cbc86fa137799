"""Small models of published families: foreign_values.json holds what transformers makes of them.

Weights look random and come from no stream of random numbers that a library may change.
"""
import numpy as np

LLAMA = dict(vocab_size=19, hidden_size=16, intermediate_size=20, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=16)
BERT = {name: x for name, x in LLAMA.items() if name != "num_key_value_heads"}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8, "rope_theta": 50.0}

# name -> model_type, settings
DECODERS = {
    "gpt2": ("gpt2", dict(vocab_size=19, n_positions=16, n_embd=12, n_layer=2, n_head=3)),
    "gpt2_untied": ("gpt2", dict(vocab_size=19, n_positions=16, n_embd=8, n_layer=1, n_head=2,
                                 n_inner=20, tie_word_embeddings=False,
                                 activation_function="gelu", layer_norm_epsilon=0.01)),
    "llama1": ("llama", LLAMA | dict(num_key_value_heads=4, rms_norm_eps=1e-6)),
    "llama2_linear": ("llama", LLAMA | dict(rope_parameters={
        "rope_type": "linear", "factor": 4.0, "rope_theta": 100.0})),
    "llama3": ("llama", LLAMA | dict(hidden_size=12, head_dim=8, tie_word_embeddings=True,
                                     rope_parameters=LLAMA3)),
    "smollm2": ("llama", LLAMA | dict(hidden_size=18, num_attention_heads=9,
                                      num_key_value_heads=3, rms_norm_eps=1e-5,
                                      tie_word_embeddings=True)),
    "mistral": ("mistral", LLAMA | dict(sliding_window=3, head_dim=6)),
    "qwen2": ("qwen2", LLAMA | dict(tie_word_embeddings=True)),
    "qwen3": ("qwen3", LLAMA | dict(head_dim=6, rms_norm_eps=0.01)),
    "gemma": ("gemma", LLAMA | dict(num_key_value_heads=1, head_dim=8)),
}

ENCODERS = {
    "bert": ("bert", BERT | dict(layer_norm_eps=1e-5)),
    "roberta": ("roberta", BERT | dict(max_position_embeddings=18, type_vocab_size=1)),
}
T5 = dict(vocab_size=19, d_model=12, d_kv=6, d_ff=20, num_layers=2, num_heads=2,
          relative_attention_num_buckets=8, relative_attention_max_distance=12)
ENCODER_DECODERS = {
    "t5": ("t5", T5 | dict(tie_word_embeddings=True)),
    "t5_gated": ("t5", T5 | dict(num_decoder_layers=1, feed_forward_proj="gated-gelu",
                                 tie_word_embeddings=False)),
    "bart": ("bart", dict(vocab_size=19, d_model=12, encoder_layers=2, decoder_layers=1,
                          encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=20,
                          decoder_ffn_dim=20, max_position_embeddings=16)),
}
LENGTHS = np.array([9, 6])
ASKED = [5, 9, 14, 3, 1]                                  # a source with its end
AROUND = {"t5": dict(decoder_start_token_id=0, eos_token_id=1),
          "bart": dict(decoder_start_token_id=2, forced_bos_token_id=0, eos_token_id=1)}

IDS = (np.arange(20)[:, None] * 7 + np.arange(10) ** 2 * 3) % 19


def ids(rows=2, columns=9):
    return IDS[:rows, :columns]


def source():
    """Return what an encoder reads, (2, 9), of which LENGTHS are real."""
    return ids() * 11 % 19


def segments(name):
    """Say of each token in which sentence it is; RoBERTa knows one."""
    return (ids() * 0 + np.arange(9) // 4 % 2) * (name == "bert")


def masked_targets():
    """Ask for every other real token."""
    asked = (np.arange(9) % 2 == 0) & (np.arange(9) < LENGTHS[:, None])
    return np.where(asked, ids() * 5 % 19, -100)


def weights(shapes):
    """Make numbers for tensors of theirs, a dict of names and shapes."""
    made = {}
    for i, name in enumerate(sorted(shapes)):
        k = np.arange(np.prod(shapes[name], dtype=int), dtype=np.float64)
        near_one = any(word in name.lower() for word in ("norm.weight", "ln_", "layernorm")) and (
            name.endswith("weight"))
        made[name] = 0.3 * np.sin(0.7 * k * k + i).reshape(shapes[name]) + near_one
    return made


def digest(x):
    """Project an array onto directions that look random: two numbers that all elements enter."""
    k = np.arange(x.size, dtype=np.float64)
    flat = np.ravel(x)
    return [float(flat @ np.sin(0.3 * k * k + 1)), float(np.abs(flat) @ (1 + np.cos(k)))]
