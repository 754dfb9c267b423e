"""What is allowed comes back as written; real payloads, which would make a file, do nothing."""

import collections
import copyreg
import io
import os
import pickle
import pickletools
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.pickles import load_npz, load_pickle

CONTENT = {
    "floats": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.array([1, 2, 3], ">i2"),
    "flags": np.array([True, False]),
    "names": np.array(["s_01", "Schritt ü"]),
    "bytes": np.array([b"a", b"bcd"]),
    "objects": np.array([{"a": [1]}, None, "x", np.ones(2)], dtype=object),
    "none": np.zeros((0, 17, 3)),
    "single": np.array(2.5),
    "scalars": [np.float64(1.5), np.int64(-3), np.str_("word"), np.bool(True)],
    "plain": (1, -(2**70), 1.5, "text ü", b"\xff\x00", None, True, 2 + 3j, {1, 2}, frozenset({3}), b""),
    "bytearray": bytearray(b"abc"),
    "ordered": collections.OrderedDict([("b", 1), ("a", [2])]),
}


def assert_same(actual: Any, expected: Any) -> None:
    assert type(actual) is type(expected)
    if isinstance(expected, np.ndarray) and expected.dtype != object:
        assert actual.dtype == expected.dtype.newbyteorder("=") or actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)
        assert actual.shape == expected.shape
    elif isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key in expected:
            assert_same(actual[key], expected[key])
    elif isinstance(expected, list | tuple | np.ndarray):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert actual == expected


def write(folder: Path, content: bytes) -> Path:
    path = folder / "data.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_come_back_as_written(tmp_path: Path, protocol: int) -> None:
    content = dict(CONTENT)
    if protocol < 5:
        del content["bytearray"]  # older protocols call the class, which may reserve any length
    assert_same(load_pickle(write(tmp_path, pickle.dumps(content, protocol))), content)


def test_names_of_older_numpy_are_the_same(tmp_path: Path) -> None:
    content = [np.arange(3.0), np.float32(2)]
    old = pickle.dumps(content, 2).replace(b"numpy._core.", b"numpy.core.")
    assert b"_core" not in old
    assert_same(load_pickle(write(tmp_path, old)), content)


def test_shared_and_circular_parts_stay_shared(tmp_path: Path) -> None:
    array = np.zeros(3)
    content: list[Any] = [array, array]
    content.append(content)
    loaded = load_pickle(write(tmp_path, pickle.dumps(content)))
    assert loaded[0] is loaded[1]
    assert loaded[2] is loaded


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    # {'v': numpy.array([1., 2.]), 's': 'caf\xe9', 'u': u'x', 'n': 3L}, protocol 2: strings are bytes there.
    text = (
        b"\x80\x02}q\x00(U\x01vcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89U\x10" + struct.pack("<2d", 1, 2) + b"tbU\x01sU\x04caf\xe9U\x01uX\x01\x00\x00\x00x"
        b"U\x01n\x8a\x01\x03u."
    )
    assert_same(
        load_pickle(write(tmp_path, text)), {"v": np.array([1.0, 2.0]), "s": "café", "u": "x", "n": 3}
    )


class Payload:
    """Calls something as it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def payloads(witness: Path) -> dict[str, Any]:
    command = f"touch {witness}"
    objects = np.empty(1, object)
    objects[0] = Payload(os.system, command)
    return {
        "posix.system": Payload(os.system, command),
        "subprocess.Popen": Payload(subprocess.Popen, ["touch", str(witness)]),
        "builtins.exec": Payload(exec, f"with open({str(witness)!r}, 'w'): pass"),
        "builtins.getattr": Payload(getattr, witness, "touch"),
        "numpy.save": Payload(np.save, str(witness), np.zeros(1)),
        "builtins.bytearray": Payload(bytearray, 10**15),
        "posix.system in a list": [{"a": Payload(os.system, command)}],
        "posix.system in an object array": objects,
    }


@pytest.mark.parametrize("name", payloads(Path()))
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_calls_are_refused_by_name_and_not_made(tmp_path: Path, name: str, protocol: int) -> None:
    witness = tmp_path / "witness.npy"
    path = write(tmp_path, pickle.dumps(payloads(witness)[name], protocol))
    expected = (
        name.partition(" ")[0].replace("builtins", "(builtins|__builtin__)").replace("subprocess", "\\w+")
    )
    with pytest.raises(DataError, match=rf"data\.pkl refers to '{expected}'.*nothing in it was executed"):
        load_pickle(path)
    assert not witness.exists()
    if "bytearray" not in name and "getattr" not in name:  # the payload is real
        with path.open("rb") as file:
            process = pickle.load(file)  # noqa: S301
        if isinstance(process, subprocess.Popen):
            process.wait()
        assert witness.exists()


GLOBAL_SYSTEM = b"cposix\nsystem\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
FLOAT = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8K\x00K\x01tR"
OBJECT = b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8K\x00K\x01tR"


@pytest.mark.parametrize(
    "content",
    [
        b"(S'touch x'\nios\nsystem\n.",  # INST
        b"(cposix\nsystem\nS'touch x'\no.",  # OBJ
        b"\x80\x02" + GLOBAL_SYSTEM + b"(X\x07\x00\x00\x00touch x\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93(X\x07\x00\x00\x00touch xtR.",  # STACK_GLOBAL
        b"Pname\n.",  # persistent id
        b"(lQ.",
        b"\x80\x02\x82\x01.",  # extension registry
        b"\x80\x02\x83\x01\x00.",
        b"\x80\x02\x84\x01\x00\x00\x00.",
        b"\x80\x05\x97.",  # out-of-band buffer
        # An array as class or function; a function as class; a class as function.
        b"cnumpy\nndarray\n(K\x05tR.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"\x80\x02cnumpy\ndtype\n)\x81.",
        b"(lK\x01tR.",
        # State of what takes none: of a function, a list, an array twice.
        b"cnumpy\ndtype\n}b.",
        b"(l}b.",
        ARRAY
        + b"(K\x01(K\x01t"
        + FLOAT
        + b"\x89C\x08\0\0\0\0\0\0\0\0tb(K\x01(K\x00t"
        + FLOAT
        + b"\x89C\x00tb.",
        # Arrays whose data do not fit: too short, a shape without end, negative, objects in bytes.
        ARRAY + b"(K\x01(K\x02t" + FLOAT + b"\x89C\x08\0\0\0\0\0\0\0\0tb.",
        ARRAY + b"(K\x01(J\xff\xff\xff\x7ft" + FLOAT + b"\x89C\x00tb.",
        ARRAY + b"(K\x01(J\xff\xff\xff\xffJ\xff\xff\xff\xfft" + FLOAT + b"\x89C\x08\0\0\0\0\0\0\0\0tb.",
        ARRAY + b"(K\x01(K\x01t" + OBJECT + b"\x89C\x08\0\0\0\0\0\0\0\0tb.",
        ARRAY + b"(K\x01(K\x02t" + OBJECT + b"\x89(K\x01ltb.",
        b"cnumpy.core.multiarray\nscalar\n(" + OBJECT + b"C\x08\0\0\0\0\0\0\0\0tR.",
        b"cnumpy.core.multiarray\nscalar\n(" + FLOAT + b"C\x04\0\0\0\0tR.",
        b"cnumpy._core.numeric\n_frombuffer\n(C\x08\0\0\0\0\0\0\0\0" + OBJECT + b"(K\x01tC\x01CtR.",
        # dtypes that numpy would read as expressions, or with fields at any offset.
        b"cnumpy\ndtype\n(X\x0b\x00\x00\x00O,f8,(3,)f8K\x00K\x01tR.",
        b"cnumpy\ndtype\n(X\x02\x00\x00\x00V8K\x00K\x01tR(K\x03X\x01\x00\x00\x00|N(X\x01\x00\x00\x00at}"
        b"X\x01\x00\x00\x00a(" + OBJECT + b"J\xff\xff\xff\x7ftsK\x08K\x01K\x1btb.",
        # Other codecs, containers of what is none, names that lead on.
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00zipctR.",
        b"c__builtin__\nset\n(K\x05tR.",
        # A length, a memo index or a frame far beyond the file.
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"ab.",
        b"\x80\x05\x8e" + struct.pack("<Q", 2**40) + b"ab.",
        b"",
        b"\x80\x04",
        b"not a pickle",
        pickle.dumps(CONTENT)[:-40],
    ],
)
def test_tricks_and_damage_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    copyreg.add_extension("posix", "system", 1)
    try:
        with pytest.raises(DataError, match=r"data\.pkl (is no pickle|is empty|refers to)") as caught:
            load_pickle(write(tmp_path, content))
    finally:
        copyreg.remove_extension("posix", "system", 1)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["data.pkl"]


def test_a_far_memo_index_and_a_long_frame_cost_no_memory(tmp_path: Path) -> None:
    assert load_pickle(write(tmp_path, b"K\x07r\xff\xff\xff\xff.")) == 7
    assert load_pickle(write(tmp_path, b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"K\x07.")) == 7


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.pkl cannot be read: No such file"):
        load_pickle(tmp_path / "none.pkl")
    with pytest.raises(DataError, match=r"none\.npz cannot be read: No such file"):
        load_npz(tmp_path / "none.npz")


def test_npz_members_are_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    arrays = {name: value for name, value in CONTENT.items() if isinstance(value, np.ndarray)}
    for save in (np.savez, np.savez_compressed):
        save(path, allow_pickle=True, **arrays, positions_3d=np.array({"S1": {"Walking": arrays["floats"]}}))  # pyright: ignore[reportArgumentType]
        loaded = load_npz(path)
        assert set(loaded) == {*arrays, "positions_3d"}
        assert len(loaded) == len(arrays) + 1
        assert "no such" not in loaded
        for name, value in arrays.items():
            assert_same(loaded[name], value)
        assert_same(loaded["positions_3d"].item()["S1"]["Walking"], arrays["floats"])


def test_an_npz_that_calls_code_is_refused(tmp_path: Path) -> None:
    path, witness = tmp_path / "data.npz", tmp_path / "witness"
    np.savez(path, good=np.arange(3), bad=np.array([Payload(os.system, f"touch {witness}")]))
    loaded = load_npz(path)
    assert loaded["good"].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"data\.npz: array bad refers to 'posix\.system'"):
        loaded["bad"]
    assert not witness.exists()


def write_npz(path: Path, member: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", member)
    return path


def npy(header: dict[str, Any], data: bytes) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


@pytest.mark.parametrize(
    "member",
    [
        npy({"descr": "<f8", "fortran_order": False, "shape": (10**15,)}, b""),  # 8 petabytes
        npy({"descr": "<f8", "fortran_order": False, "shape": (2,)}, b"\0" * 8),
        npy({"descr": "|O", "fortran_order": False, "shape": (2,)}, pickle.dumps([1, 2])),
        npy({"descr": "|O", "fortran_order": False, "shape": (2,)}, pickle.dumps(np.zeros(2))),
        npy({"descr": "|O", "fortran_order": False, "shape": (2,)}, b""),
        b"\x93NUMPY\x01\x00\x10\x00__import__('os')",
        b"text",
    ],
)
def test_a_damaged_npz_is_one_line(tmp_path: Path, member: bytes) -> None:
    loaded = load_npz(write_npz(tmp_path / "data.npz", member))
    with pytest.raises(DataError, match=r"data\.npz: array a is (damaged|no pickle)") as caught:
        loaded["a"]
    assert "\n" not in str(caught.value)


def test_what_is_no_zip_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match=r"data\.npz is no npz file"):
        load_npz(path)


def test_every_operation_of_pickle_is_known_to_be_allowed_or_left_out() -> None:
    """A later Python may add operations; they must be looked at before they are allowed."""
    assert {op.name for op in pickletools.opcodes if op.proto > 5} == set()
    assert len(pickletools.opcodes) == 68


def test_asking_for_a_name_reads_nothing(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", b"damaged")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "not an array")
    content = load_npz(path)
    (name,) = content
    assert name in content
    assert "readme.txt" not in content
    assert "other" not in content


@pytest.mark.parametrize(
    "use",
    [b"}%sNs.", b"}(%sNu.", b"(%sNd.", b"\x8f(%s\x90.", b"(%s\x91.", b"cbuiltins\nset\n(](%sl\x85R."],
    ids=["setitem", "setitems", "dict", "additems", "frozenset", "set"],
)
def test_keys_nested_so_deep_that_hashing_them_ends_the_process_are_refused(
    tmp_path: Path, use: bytes
) -> None:
    path = tmp_path / "deep.pkl"
    path.write_bytes(use.replace(b"%s", b")" + b"\x85" * 1_000_000))
    with pytest.raises(DataError, match="is no pickle, or is damaged"):
        load_pickle(path)


def test_a_file_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "packed.npz"
    np.savez_compressed(path, poses=np.zeros((10_000, 1000)))
    with pytest.raises(DataError, match=r"array poses unpacks to 80000128 bytes from \d+: no data are so"):
        load_npz(path)["poses"]
    assert load_npz(path, free_bytes=80_000_128)["poses"].shape == (10_000, 1000)


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("poses.npy", stream.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("poses.npy", stream.getvalue())
    with pytest.raises(DataError, match="holds two arrays 'poses'"):
        load_npz(tmp_path / "twice.npz")


def test_data_that_are_used_again_and_again_are_refused(tmp_path: Path) -> None:
    text = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6
    start = b"\x80\x02" + text + b"q\x010c_codecs\nencode\nq\x020X\x06\x00\x00\x00latin1q\x030("
    path = tmp_path / "memo.pkl"
    for times, is_good in ((3, True), (3000, False)):
        path.write_bytes(start + b"h\x02h\x01h\x03\x86R" * times + b"l.")
        if is_good:
            assert [len(item) for item in load_pickle(path)] == [10**6] * times
        else:
            with pytest.raises(DataError, match="is no pickle, or is damaged"):
                load_pickle(path)
