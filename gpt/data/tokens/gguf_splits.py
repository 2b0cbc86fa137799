"""How text is cut by the names that a GGUF has for it: `tokenizer.ggml.pre` -> pre-tokenizers."""
from bpe import PATTERNS
from gpt.data.tokens.parts import step

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
             r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = PATTERNS["o200k"].replace(CONTRACTIONS, "").replace("{1,3}", "")


def byte_level(use_regex):
    """Say the bytes of text in GPT-2's characters, cut as GPT-2 does or not."""
    return step("ByteLevel", add_prefix_space=False, trim_offsets=False, use_regex=use_regex)


def _splits(*patterns):
    """Isolate what each pattern matches, one after the other."""
    splits = [step("Split", pattern={"Regex": pattern}, behavior="Isolated", invert=False)
              for pattern in patterns]
    return [*splits, byte_level(False)]


GPT2 = [byte_level(True)]
DIGITS = [step("Digits", individual_digits=True), *GPT2]
LLAMA3, QWEN2 = _splits(PATTERNS["llama3"]), _splits(PATTERNS["qwen2"])
SPLITS = {
    "default": GPT2, "gpt-2": GPT2, "phi-2": GPT2, "olmo": GPT2, "mpt": GPT2, "jais": GPT2,
    "roberta-bpe": GPT2, "jina-es": GPT2, "jina-de": GPT2, "jina-v2-code": GPT2,
    "smollm": DIGITS, "starcoder": DIGITS, "refact": DIGITS, "command-r": DIGITS,
    "codeshell": DIGITS, "exaone": DIGITS,
    "llama3": LLAMA3, "llama-v3": LLAMA3, "llama-bpe": LLAMA3, "falcon3": LLAMA3, "dbrx": LLAMA3,
    "smaug-bpe": LLAMA3, "glm4": LLAMA3, "chatglm-bpe": LLAMA3,
    "qwen2": QWEN2, "stablelm2": QWEN2, "hunyuan": QWEN2, "deepseek-r1-qwen": QWEN2,
    "deepseek-v3": _splits(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK3),
    "gpt-4o": _splits(PATTERNS["o200k"]),
    "tekken": _splits(TEKKEN),
}
WHOLE_WORDS = ("llama3", "llama-v3", "llama-bpe", "falcon3", "tekken", "gpt-4o")
BEGIN = ("llama3", "llama-v3", "llama-bpe", "falcon3", "tekken")    # a text, with the token BOS
COMPOSED = ("qwen2", "deepseek-r1-qwen")      # have the normal form NFC, which no key says
