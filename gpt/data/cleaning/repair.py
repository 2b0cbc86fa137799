"""Mend the characters of a text, mask what identifies people, tell its language."""
import functools
import re
import unicodedata

from gpt.data.reading import CorpusError

# ---- Unicode ----

BROKEN = re.compile("[ÂÃâð][\x80-\xbf\u20ac\u201a-\u2122€œžŸ-]")     # UTF-8 read as Windows-1252
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028\u2029\u2060"
                       "\ufeff\ud800-\udfff]")


def repair_unicode(text):
    """Undo UTF-8 that was read as Windows-1252, line by line; drop what nobody sees; compose (NFC).

    >>> repair_unicode("the cafÃ© â€” open\\r\\n")
    'the café — open\\n'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if BROKEN.search(text):
        text = "\n".join(map(reread, text.split("\n")))
    return unicodedata.normalize("NFC", INVISIBLE.sub("", text))


def reread(line):
    """Return a line as UTF-8, if its bytes in Windows-1252 are that."""
    try:
        return b"".join(map(byte_of, line)).decode("utf-8")
    except UnicodeError:
        return line


def byte_of(character):
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1")            # five bytes that Windows-1252 leaves open


# ---- what identifies people ----

EMAIL = re.compile(r"[\w.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
PHONE = re.compile(r"(?<![\w.])(?<!ISBN )(?<!ISBN-)(?:\+?1[ .-]?)?"
                   r"(?:\([2-9]\d\d\)[ .-]*|[2-9]\d\d[ .-]?)\d{3}[ .-]?\d{4}(?![\w-])")
LIKE_PHONE = re.compile(r"\d{3}[ .-]?\d{4}")          # which is found ten times as fast
OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IP = re.compile(rf"(?<![\w.])(?:{OCTET}\.){{3}}{OCTET}(?![\w]|\.\d)")
LIKE_IP = re.compile(r"\.\d+\.\d+\.\d")


def mask_emails(text):
    """Put |||EMAIL_ADDRESS||| in the place of addresses: (text, how many)."""
    if "@" not in text:
        return text, 0
    return EMAIL.subn("|||EMAIL_ADDRESS|||", text)


def mask_phone_numbers(text):
    """Put |||PHONE_NUMBER||| in the place of North American numbers: (text, how many)."""
    if not LIKE_PHONE.search(text):
        return text, 0
    return PHONE.subn("|||PHONE_NUMBER|||", text)


def mask_ips(text):
    """Put |||IP_ADDRESS||| in the place of IPv4 addresses: (text, how many)."""
    if not LIKE_IP.search(text):
        return text, 0
    return IP.subn("|||IP_ADDRESS|||", text)


MASKS = {"e-mail addresses": mask_emails, "IP addresses": mask_ips,
         "phone numbers": mask_phone_numbers}


def mask_pii(text):
    """Mask addresses and numbers: (text, how many of each kind)."""
    counts = {}
    for kind, mask in MASKS.items():
        text, counts[kind] = mask(text)
    return text, counts


# ---- language: Lui & Baldwin 2012, langid.py ----

LOOKED_AT = 2000                   # characters


@functools.cache
def identifier():
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise CorpusError("to tell languages needs a package: pip install py3langid, or leave the "
                          "filter language out") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def identify_language(text):
    """Return the likeliest language of a text, such as "en" or "zh", and its probability."""
    language, p = identifier().classify(text[:LOOKED_AT])
    return language, float(p)
