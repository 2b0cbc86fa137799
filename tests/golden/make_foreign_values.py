"""Make foreign_values.json: what transformers computes of the models in foreign_cases.py, float64.

    python tests/golden/make_foreign_values.py

PyTorch and transformers are needed for this alone. Where a model of transformers asks for float32
by name (angles of rotary positions, mean squares), it gets float64 here.
"""
import json
import warnings
from pathlib import Path

import foreign_cases as cases
import numpy as np
import torch
import transformers

PLACE = Path(__file__).with_name("foreign_values.json")


def double():
    """Let float32 mean float64 from here on."""
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double


def make(kind, settings, auto):
    config = transformers.AutoConfig.for_model(kind, **settings, attn_implementation="sdpa")
    model = auto.from_config(config).eval().double()
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            module.padding_idx = None                    # torch would leave its gradient out
    own = dict(model.named_parameters())                 # what is tied counts once
    made = cases.weights({name: tuple(x.shape) for name, x in own.items()})
    with torch.no_grad():
        for name, x in own.items():
            x.copy_(torch.tensor(made[name]))
    return model, config.to_dict()


def decoder(kind, settings):
    model, config = make(kind, settings, transformers.AutoModelForCausalLM)
    ids = torch.tensor(cases.ids())
    logits = model(ids[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    start = ids[:1, :3]
    greedy = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=10,
                            do_sample=False, eos_token_id=None, pad_token_id=0)[0, 3:]
    return facts(model, config, logits, loss) | {"greedy": greedy.tolist()}


def encoder(name, kind, settings):
    model, config = make(kind, settings, transformers.AutoModelForMaskedLM)
    real = np.arange(9) < cases.LENGTHS[:, None]
    offset = {"bert": 0, "roberta": 2}[kind]
    logits = model(torch.tensor(cases.ids()), attention_mask=torch.tensor(real.astype(int)),
                   token_type_ids=torch.tensor(cases.segments(name)),
                   position_ids=torch.arange(9)[None] + offset).logits
    targets = torch.tensor(cases.masked_targets())
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    return facts(model, config, logits, loss)


def encoder_decoder(kind, settings):
    model, config = make(kind, settings, transformers.AutoModelForSeq2SeqLM)
    ids = torch.tensor(cases.ids())
    real = np.arange(9) < cases.LENGTHS[:, None]
    read = dict(input_ids=torch.tensor(cases.source()),
                attention_mask=torch.tensor(real.astype(int)))
    logits = model(**read, decoder_input_ids=ids[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    greedy = ids[:, :1]
    for _ in range(8):
        best = model(**read, decoder_input_ids=greedy).logits[:, -1].argmax(-1)
        greedy = torch.cat([greedy, best[:, None]], dim=1)
    answers = {}
    for beams in (1, 3):
        made = model.generate(torch.tensor([cases.ASKED]), num_beams=beams, do_sample=False,
                              length_penalty=0.0, max_new_tokens=8, pad_token_id=0,
                              **cases.AROUND[kind])
        answers[beams] = made[0].tolist()
    return facts(model, config, logits, loss) | {"greedy": greedy[:, 1:].tolist(),
                                                 "answers": answers}


def facts(model, config, logits, loss):
    kept = {name: x for name, x in config.items() if x not in (None, [], "") and name not in DULL}
    own = dict(model.named_parameters())
    return {"config": kept, "loss": loss.item(),
            "shapes": {name: list(x.shape) for name, x in own.items()},
            "logits": logits.detach().flatten(0, -2)[:: 5, :3].flatten().tolist(),
            "all_logits": cases.digest(logits.detach().numpy()),
            "gradients": {name: cases.digest(x.grad.numpy()) for name, x in own.items()}}


DULL = ("id2label", "label2id", "transformers_version", "return_dict", "use_cache", "dtype",
        "chunk_size_feed_forward", "layer_types", "output_attentions", "output_hidden_states",
        "initializer_range", "max_window_layers", "pretraining_tp")


def main():
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    double()
    found = {"torch": torch.__version__, "transformers": transformers.__version__,
             "numpy": np.__version__}
    for name, (kind, settings) in cases.DECODERS.items():
        found[name] = decoder(kind, settings)
    for name, (kind, settings) in cases.ENCODERS.items():
        found[name] = encoder(name, kind, settings)
    for name, (kind, settings) in cases.ENCODER_DECODERS.items():
        found[name] = encoder_decoder(kind, settings)
    lines = [f"{json.dumps(name)}: {json.dumps(x)}" for name, x in found.items()]
    PLACE.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
