"""Read, check and write the files of tokenizers; a mistake is told in one sentence."""
import hashlib
import json
import os


def read_text(path):
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8") from None


def read_json(path):
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path}: the JSON is nested too deeply") from None


def list_in(path, facts, name):
    check(path, name, facts.get(name), isinstance(facts.get(name), list), "a list")
    return facts[name]


def check(path, where, value, right, wanted):
    if not right:
        raise ValueError(f"{path}: {where} is {value!r:.60}, but must be {wanted}")


def write_text(path, text):
    """Write UTF-8 with the line ends that the text has, as `write_whole` does."""
    data = text.encode("utf-8", "surrogatepass")
    write_whole(path, lambda temporary: temporary.write_bytes(data))


def write_whole(path, write):
    """Write a file under a temporary name, sync it to disk, and only then give it its name.

    `write` gets the temporary path; what it returns is returned.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        result = write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        _sync_folder(path.parent)  # the name itself is on disk, too
    return result


def file_sha256(path):
    """Return the SHA256 of a file in hexadecimal digits, read a megabyte at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder):
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
