"""Files of torch.save: what comes back, and that a hostile or damaged file gets nowhere."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch_writer
from torch_writer import integer, legacy_file, pickled, program, zip_file

from biggan_jax.runtime import torch_files
from biggan_jax.runtime.errors import UserError

RANDOM = np.random.default_rng(0)
STATE = {
    "conv.weight": RANDOM.standard_normal((4, 3, 2, 2), np.float32),
    "transposed": RANDOM.standard_normal((5, 7), np.float32).T,
    "bn.num_batches_tracked": np.array(12345678901),
    "bytes": RANDOM.integers(0, 256, 9, np.uint8),
    "half": np.array([0.5, -2], np.float16),
    "mask": np.array([[True, False]]),
    "empty": np.zeros((0, 3), np.float64),
}
NESTED = {"G": STATE, "step": 7, "big": 2**40, "rate": 2e-4, "none": None, "list": [1, "é", (True, -3, 300)]}
FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def wrap(data, legacy, storages=None):
    return (legacy_file if legacy else zip_file)(data, storages or {})


def assert_same(left, right):
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, np.ndarray):
        assert (left.dtype, left.shape, left.flags.c_contiguous) == (right.dtype, right.shape, True)
        np.testing.assert_array_equal(left, right)
    else:
        assert left == right


@FORMATS
def test_arrays_and_containers_come_back_with_values_types_and_order(tmp_path, legacy):
    (tmp_path / "file.pth").write_bytes(torch_writer.save(NESTED, legacy))
    assert_same(torch_files.read(tmp_path / "file.pth"), NESTED)


@FORMATS
def test_tensors_that_share_numbers_are_each_its_own_array(legacy):
    row = np.arange(6, dtype=np.float32)
    storages = {}
    whole = pickled(row, storages)
    # the same storage "0" again, from number 1 on, every second number
    where, other = (b"".join(pickled(x, {}) for x in parts) for parts in ((0, (6,), (1,)), (1, (2,), (2,))))
    part = whole.replace(b"Q" + where, b"Q" + other)
    assert part != whole
    a, b = torch_files.parse(wrap(program(b"(" + whole + part + b"t"), legacy, storages), "name")
    np.testing.assert_array_equal(a, row)
    np.testing.assert_array_equal(b, [1, 3])
    a[1] = 100
    assert b[0] == 1


class Hostile:
    """Unpickled by Python, it calls what it is given."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@FORMATS
@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, __import__, io.open, pickle.loads])
def test_code_in_a_pickle_is_refused_by_name_and_never_run(tmp_path, legacy, function):
    mark = tmp_path / "was here"
    text = {os.system: f"touch '{mark}'", io.open: str(mark)}.get(function, f"open({str(mark)!r}, 'w')")
    arguments = (text, "w") if function is io.open else (text,)
    data = pickle.dumps({"weight": Hostile(function, *arguments)}, 2)
    with pytest.raises(UserError, match=rf"name: it asks for \w+\.{function.__name__}, .* not run"):
        torch_files.parse(wrap(data, legacy), "name")
    assert not mark.exists()
    with io.BytesIO(pickle.dumps(Hostile(os.system, f"touch '{mark}'"), 2)) as stream:
        pickle.load(stream)  # as the threat is real
    assert mark.exists()


@FORMATS
@pytest.mark.parametrize(
    "instructions, words",
    [
        (b"ctorch\nload\n(tR", "asks for torch.load"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n", "__globals__"),
        (b"ccollections\nabc\n", "collections.abc"),
        (b"ctorch.FloatStorage\n__class__\n", "__class__"),
        (b"(ios\nsystem\n", "INST"),
        (b"\x8c\x02os\x8c\x06system\x93", "SHORT_BINUNICODE"),
        (b"ccollections\nOrderedDict\n)\x81", "NEWOBJ"),
        (b"\x82\x01", "EXT1"),
        (b"]d", "DICT"),
        (b"Pos\n", "PERSID"),
        (b"Vos\n(tR", "UNICODE"),
    ],
)
def test_names_and_instructions_that_torch_save_never_writes_are_refused(legacy, instructions, words):
    with pytest.raises(UserError, match=words):
        torch_files.parse(wrap(program(instructions), legacy), "name")


@FORMATS
@pytest.mark.parametrize(
    "instructions",
    [
        pickled("os.system", {}) + b")R",  # calls a text
        b"})R",  # calls a dictionary
        b"ctorch\nFloatStorage\n)R",  # calls a type
        b"]}b",  # gives a list attributes
        b"ccollections\nOrderedDict\n}b",  # gives a function attributes
        b"N)s",  # takes from an empty stack
        b"(0",  # a mark without an end
        b"h\x07",  # recalls what was never put
        b"}]Ns",  # a list as a key
        b"a",
        b"",
        pickled(("storage", "FloatStorage", "0", "cpu", 4), {}) + b"Q",  # a storage whose type is a text
        pickled("storage", {}) + b"Q",
    ],
)
def test_instructions_that_make_no_sense_are_reported_as_damage(legacy, instructions):
    with pytest.raises(UserError, match="name is damaged|name: its pickle"):
        torch_files.parse(wrap(program(instructions), legacy), "name")


@FORMATS
@pytest.mark.parametrize(
    "offset, shape, strides",
    [
        (3, (2,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (1, (2, 2), (0, 3)),
        (0, (5,), (0,)),
        (0, (2**40,), (0,)),
        (0, (2**62, 4), (1, 1)),
        (0, (2,), ()),
        (0, (-2, -2), (1, 1)),
        (0, (2.0,), (1,)),
    ],
)
def test_a_tensor_that_reaches_outside_its_numbers_is_damage(legacy, offset, shape, strides):
    storages = {}
    good = pickled(np.arange(4, dtype=np.float32), storages)
    arguments = [pickled(part, {}) for part in (0, (4,), (1,))]
    bad = good.replace(b"".join(arguments), b"".join(pickled(part, {}) for part in (offset, shape, strides)))
    assert bad != good
    torch_files.parse(wrap(program(good), legacy, storages), "name")
    with pytest.raises(UserError, match="name is damaged"):
        torch_files.parse(wrap(program(bad), legacy, storages), "name")


@FORMATS
def test_a_storage_of_another_size_than_announced_is_damage(legacy):
    storages = {}
    data = program(
        pickled(np.arange(4, dtype=np.float32), storages).replace(integer(4) + b"NtQ", integer(5) + b"NtQ")
    )
    with pytest.raises(UserError, match="damaged"):
        torch_files.parse(wrap(data, legacy, storages), "name")


@FORMATS
def test_tensors_that_would_take_many_times_the_file_are_refused(legacy):
    storages = {}
    one = pickled(np.zeros(50_000, np.float32), storages)
    assert len(torch_files.parse(wrap(program(b"(" + 3 * one + b"t"), legacy, storages), "name")) == 3
    content = wrap(program(b"(" + 20 * one + b"t"), legacy, storages)
    with pytest.raises(UserError, match="would take more than 8 times the file's size"):
        torch_files.parse(content, "name")


@FORMATS
def test_what_would_take_forever_to_hash_or_to_print_is_refused_at_once(legacy):
    """Tuples of the same tuple twice, sixty deep: 2**60 of them for who goes through all."""
    nest = b"N\x85q\x00" + b"".join(b"h%c\x86q%c" % (n, n + 1) for n in range(60))
    ordered = b"ccollections\nOrderedDict\n"  # called with pairs
    for instructions in (
        b"}" + nest + b"Ns",
        b"}(" + nest + b"Nu",
        b"(" + nest + 4 * b"h\x3c" + b"tQ",
        ordered + b"(](" + nest + b"N\x86etR",
        ordered + nest + b"R",
    ):
        with pytest.raises(UserError, match="damaged"):
            torch_files.parse(wrap(program(instructions), legacy), "name")
    magic = pickle.dumps(torch_writer.HEADER[0], 2)
    with pytest.raises(UserError, match="protocol [?] of torch.save"):
        torch_files.parse(magic + program(nest), "name")


@FORMATS
def test_a_dictionary_that_python_2_saved_as_pairs_is_read(legacy):
    pairs = b"".join(pickled([key, value], {}) for key, value in (("b", 1), ("a", (2, "x")), (3, None)))
    data = program(b"ccollections\nOrderedDict\n(](" + pairs + b"etR")
    assert_same(torch_files.parse(wrap(data, legacy), "name"), {"b": 1, "a": (2, "x"), 3: None})


@FORMATS
@pytest.mark.parametrize("function", ["collections\nOrderedDict", "torch\nSize"])
def test_a_call_that_is_repeated_cannot_fill_the_memory(legacy, function):
    items = b"](" + b"".join(pickled((n, n), {}) for n in range(500)) + b"eq\x00"
    calls = 2_000 * (b"c" + function.encode() + b"\n(h\x00tR")
    with pytest.raises(UserError, match="8 times the file's size|is not a list of at most 32"):
        torch_files.parse(wrap(program(b"(" + items + calls + b"t"), legacy), "name")


@FORMATS
def test_a_file_cut_short_anywhere_is_reported_and_no_other_error_escapes(legacy):
    content = torch_writer.save(NESTED, legacy)
    for length in range(0, len(content) - 1, 3):
        with pytest.raises(UserError, match="name"):
            torch_files.parse(content[:length], "name")


@pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")  # pickletools'
@FORMATS
def test_no_flipped_byte_lets_another_error_escape(legacy):
    content = torch_writer.save(NESTED, legacy)
    random = np.random.default_rng(1)
    caught = 0
    for _ in range(600):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), random.integers(1, 4)):
            damaged[place] = random.integers(0, 256)
        try:
            torch_files.parse(bytes(damaged), "name")
        except UserError:
            caught += 1
    assert caught > 100


def test_other_kinds_of_file_are_named():
    script = zip_file(program(b"N"), {}, **{"constants.pkl": b""})
    with pytest.raises(UserError, match="TorchScript"):
        torch_files.parse(script, "name")
    with pytest.raises(UserError, match="big-endian"):
        torch_files.parse(zip_file(program(b"N"), {}, byteorder=b"big"), "name")
    with pytest.raises(UserError, match="without data.pkl"):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("a/b", b"")
        torch_files.parse(content.getvalue(), "name")
    with pytest.raises(UserError, match="compressed"):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", program(b"N"))
        torch_files.parse(content.getvalue(), "name")
    for content in (b"<!DOCTYPE html>", b"version https://git-lfs", b"", pickle.dumps({"a": 1}, 2)):
        with pytest.raises(UserError, match="not a file of torch.save: it begins with"):
            torch_files.parse(content, "name")
    with pytest.raises(UserError, match="protocol 1002"):
        torch_files.parse(legacy_file(program(b"N"), {}, (torch_writer.HEADER[0], 1002, {})), "name")
    with pytest.raises(UserError, match="protocol 4"):
        torch_files.parse(zip_file(pickle.dumps(1, 4), {}), "name")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none.pth: No such file"):
        torch_files.read(tmp_path / "none.pth")


@pytest.mark.peers
@FORMATS
def test_pytorch_reads_the_files_that_these_tests_are_made_of(legacy):
    import torch

    loaded = torch.load(io.BytesIO(torch_writer.save(STATE, legacy)), weights_only=True)
    assert_same({name: np.ascontiguousarray(x.numpy()).reshape(x.shape) for name, x in loaded.items()}, STATE)


@pytest.mark.peers
@FORMATS
def test_what_pytorch_saves_is_read(legacy):
    import ml_dtypes
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 5))
    base = torch.arange(24.0).reshape(4, 6)
    value = {
        "state": module.state_dict(),
        "parameter": module[0].weight,
        "channels last": module[0].weight.detach().to(memory_format=torch.channels_last),
        "views": [base[1:, ::2], base.T, base[0, 0]],
        "bfloat16": torch.tensor([1.5, -2.0]).bfloat16(),
        "size": base.size(),
        "optimizer": torch.optim.Adam(module.parameters()).state_dict(),
    }
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=not legacy)
    read = torch_files.parse(content.getvalue(), "name")
    assert_same(read["state"], {name: x.numpy() for name, x in module.state_dict().items()})
    for name in ("parameter", "channels last"):
        assert_same(read[name], module[0].weight.detach().numpy())
    for ours, theirs in zip(read["views"], value["views"], strict=True):
        assert_same(ours, np.array(theirs.numpy(), order="C"))
    assert_same(read["bfloat16"], np.array([1.5, -2.0], ml_dtypes.bfloat16))
    assert read["size"] == (4, 6)
    assert read["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
