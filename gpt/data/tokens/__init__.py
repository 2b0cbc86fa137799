"""Tokenizers of every kind, behind one interface: what the rest of `gpt` may ask of any of them.

    encode(text, allowed_special=(), disallowed_special="all")     list of int
    encode_array(...)             the same as (N,) int32
    decode(ids, errors)           str; `decode_bytes(ids)` without the guess that it is UTF-8
    decoder(errors)               for ids that come one by one: `feed(ids)`, `close()`
    tokens                        list of bytes by id; None for an id that stands for nothing
    vocab_size                    len(tokens)
    token_bytes                   (V,) int32, how many bytes of text each id stands for
    special_tokens                str -> int: recognised where allowed, of 0 bytes
    frame                         ids before and behind a text, as the model learned it: BOS, [SEP]
    fingerprint()                 equal names mean equal ids
    with_more(names)              a tokenizer that has special tokens more, behind all others
    save(path)                    a file that `kinds.load_tokenizer` reads

`characters` holds the simplest, `bpe.Tokenizer` the fastest, `published` those of others.
"""
