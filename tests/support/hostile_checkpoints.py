"""Files that are no good checkpoints, each in its own way: by hand, so that they ask for what no pickler writes.

Each collection is made once (100 MB in all): hundreds of tests take one file of it.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Content = bytes | Callable[[Path], object]
_MAGIC = 0x1950A86A20F9469CFC6C
_REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value: str) -> bytes:
    """The instruction that pushes ``value``."""
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    """The instruction that pushes ``value``, however large."""
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def storage(key: str = "0", length: bytes = b"K\x02", kind: str = "FloatStorage") -> bytes:
    """Instructions that push a run of numbers."""
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + length + b"tQ"


def tensor(
    numbers: bytes = storage(), offset: bytes = b"K\x00", size: bytes = b"K\x02\x85", stride: bytes = b"K\x01\x85"
) -> bytes:
    """Instructions that push a tensor."""
    return _REBUILD + b"(" + numbers + offset + size + stride + b"\x89}tR"


def state(*items: bytes) -> bytes:
    """Instructions that push a mapping of the key and value instructions given."""
    return b"}(" + b"".join(items) + b"u"


def weights(value: bytes) -> bytes:
    """A state dict with one tensor of an encoder."""
    return state(text("encoder.conv1.weight"), value)


def _shared_tuples(levels: int) -> bytes:
    """A tuple of two of the same tuple, and so on: 2**levels leaves to hash, compare or print."""
    return b")" + b"2\x86" * levels


def _module(origin: str, attributes: bytes) -> bytes:
    module, _, name = origin.rpartition(".")
    return f"c{module}\n{name}\n".encode() + b")\x81" + attributes + b"b"


def _modules_twice(levels: int) -> bytes:
    """A module that holds one module twice, and so on: 2**levels modules to walk through."""
    made = _module("a.B", state(text("_parameters"), state(text("w"), tensor())))
    for _ in range(levels):
        twice = b"q\x010}(" + text("a") + b"h\x01" + text("b") + b"h\x01u"
        made += twice + b"q\x020ca\nB\n)\x81}" + text("_modules") + b"h\x02sb"
    return made


def _modules_deep(levels: int) -> bytes:
    made = _module("a.B", state(text("_parameters"), state(text("w"), tensor())))
    return made + (b"q\x010ca\nB\n)\x81}" + text("_modules") + b"}" + text("a") + b"h\x01ssb") * levels


def _colliding_tuples(count: int) -> Iterator[bytes]:
    prime = (1 << 61) - 1
    for index in range(count):
        yield number(1 + index * prime) + b"\x85" + b"N"


@functools.cache
def pickles() -> dict[str, bytes]:
    """Pickles that a reader must end with one error, by name. Without the instruction that ends them."""
    prime = (1 << 61) - 1
    system = b"cos\nsystem\n"
    ordered = b"ccollections\nOrderedDict\n)R"
    big = struct.pack("<Q", 1 << 62)
    members = b"](" + b"".join(b"J" + struct.pack("<i", index) for index in range(30_000)) + b"e"
    calls = {
        "build_items": ordered + state(text("items"), system) + b"b",
        "build_slots": ordered + b"N" + state(text("items"), system) + b"\x86b",
        "build_setstate": ordered + state(text("__setstate__"), system) + b"b" + text("echo") + b"b",
        "build_getitem": ordered + state(text("__contains__"), system) + b"b",
        "build_module": _module("a.B", system),
        "build_on_name": system + b"}b",
        "build_on_list": b"]}b",
        "build_on_tensor": tensor() + b"}b",
        "build_on_text": text("a") + b"}b",
        "call_list": b"])R",
        "call_text": text("os.system") + b")R",
        "call_with_list": system + b"]R",
        "call_stand_in": _module("a.B", b"}") + b")R",
        "call_ordered_dict_with_text": b"ccollections\nOrderedDict\n" + text("ab") + b"\x85R",
        "call_ordered_dict_with_many": b"ccollections\nOrderedDict\n" + b")))\x87R",
        "call_set_with_many": b"cbuiltins\nset\n" + b"]]]\x87R",
        "call_set_of_sets": b"cbuiltins\nset\n]\x8fa\x85R",
        "call_parameter_of_nothing": b"ctorch._utils\n_rebuild_parameter\n)R",
        "call_tensor_of_nothing": _REBUILD + b")R",
        "new_of_text": text("a") + b")\x81",
        "new_of_ex": b"cos\nsystem\n)}\x92",
        "inst": b"(ios\nsystem\n",
        "obj": b"(cos\nsystem\no",
        "obj_of_text": b"(" + text("a") + b"o",
        "stack_global_of_numbers": b"K\x01K\x02\x93",
        "stack_global_call": text("os") + text("system") + b"\x93)R",
        "stack_global_long_names": text("a" * 1_000_000) + b"q\x000" + b"h\x00h\x00\x930" * 5000 + b"N",
        "extension": b"\x82\x01)R",
        "next_buffer": b"\x97",
        "readonly_buffer": b"]\x98",
        "text_reference": b"Pos.system\n",
        "reference_list": b"]Q",
        "reference_empty": b")Q",
        "reference_unknown": text("os") + text("system") + b"\x86Q",
        "reference_short": text("storage") + text("a") + b"\x86Q",
        "reference_module_call": b"(" + text("module") + system + b"tQ)R",
    }
    containers = {
        "bytearray8": b"\x96" + struct.pack("<Q", 3) + b"abc",
        "bytearray8_huge": b"\x96" + big,
        "bytes8_huge": b"\x8e" + big,
        "bytes8_negative": b"\x8e" + b"\xff" * 8,
        "unicode8_huge": b"\x8d" + big,
        "unicode_huge": b"X\xff\xff\xff\xff",
        "string_negative": b"T\xff\xff\xff\xff",
        "string_huge": b"T\xff\xff\xff\x7f",
        "long4_huge": b"\x8b\xff\xff\xff\x7f",
        "long4_negative": b"\x8b\xff\xff\xff\xff",
        "long4_of_a_megabyte": b"\x8b" + struct.pack("<i", 1 << 20) + b"\xff" * (1 << 20),
        "long_of_a_million_digits": b"L" + b"9" * 1_000_000 + b"L\n",
        "int_of_a_million_digits": b"I" + b"9" * 1_000_000 + b"\n",
        "int_of_letters": b"Iabc\n",
        "float_of_letters": b"Fabc\n",
        "line_without_end": b"V" + b"a" * 10_000_000,
        "string_opcode": b"S'abc'\n",
        "frame_huge": b"\x95" + big + b"N",
        "frame_short": b"\x95" + struct.pack("<Q", 1) + b"N",
        "frames_nested": b"\x95" + struct.pack("<Q", 9) + b"\x95" + big + b"N",
        "proto_99": b"\x80\x63N",
        "memo_2_28": b"Nr" + struct.pack("<I", 1 << 28),
        "memo_2_32": b"Nr\xff\xff\xff\xff",
        "memo_text_huge": b"Np9" + b"9" * 40 + b"\n",
        "memo_text_negative": b"Np-1\n",
        "memo_collisions": b"N" + b"".join(b"p%d\n" % (1 + i * prime) for i in range(60_000)),
        "memo_absent": b"h\x05",
        "memo_of_mark": b"(q\x00h\x00",
        "deep_lists": b"]" * 900_000 + b"a" * 899_999,
        "deep_tuples": b")" + b"\x85" * 900_000,
        "deep_dicts": b"}" + b"N}" * 300_000 + b"s" * 300_000,
        "deep_sets": b"\x8f" + b"\x85" * 10_000,
        "deep_key": state(b")" + b"\x85" * 900_000, b"N"),
        "deep_reference": b")" + b"\x85" * 900_000 + b"Q",
        "deep_storage_key": b"(" + text("storage") + b"ctorch\nFloatStorage\n)" + b"\x85" * 90_000 + b"NK\x01tQ",
        "deep_global": b")" + b"\x85" * 90_000 + text("a") + b"\x93",
        "hash_bomb_key": state(_shared_tuples(60), b"N"),
        "hash_bomb_keys_equal": state(_shared_tuples(60), b"N", _shared_tuples(60), b"N"),
        "hash_bomb_frozenset": state(b"(" + _shared_tuples(50) + b"\x91", b"N"),
        "hash_bomb_set": b"\x8f(" + _shared_tuples(60) + b"\x90",
        "hash_bomb_set_call": b"cbuiltins\nset\n](" + _shared_tuples(60) + b"e\x85R",
        "hash_bomb_ordered": b"ccollections\nOrderedDict\n](" + _shared_tuples(60) + b"N\x86e\x85R",
        "print_bomb_storage_key": b"(" + text("storage") + b"ctorch\nFloatStorage\n" + _shared_tuples(60) + b"NK\x01tQ",
        "print_bomb_root": _shared_tuples(60),
        "collisions_of_integers": state(*(number(1 + index * prime) + b"N" for index in range(60_000))),
        "collisions_of_tuples": state(*_colliding_tuples(60_000)),
        "collisions_of_floats": state(
            *(b"G" + struct.pack(">d", 1.5 * 2.0 ** (61 * (i % 16) + i // 16 % 60)) + b"N" for i in range(60_000))
        ),
        "set_of_a_list_again_and_again": members + b"q\x010" + b"cbuiltins\nset\nh\x01\x85R0" * 30_000 + b"N",
        "dict_of_pairs_again_and_again": b"]("
        + b"NN\x86" * 20_000
        + b"eq\x010"
        + b"ccollections\nOrderedDict\nh\x01\x85R0" * 20_000
        + b"N",
        "state_again_and_again": state(*(b"J" + struct.pack("<i", i) + b"N" for i in range(20_000)))
        + b"q\x010"
        + ordered
        + b"h\x01b" * 50_000,
        "millions_of_sets": b"\x8f" * 3_000_000,
        "millions_of_lists": b"]" * 3_000_000,
        "millions_of_marks": b"(" * 3_000_000,
        "millions_in_a_tuple": b"(" + b"K\x01" * 1_500_000 + b"t",
        "millions_of_memos": b"N" + b"\x94" * 3_000_000,
        "contains_itself": b"]q\x00h\x00a",
        "dict_contains_itself": state(text("state_dict"), b"N") + b"q\x00" + text("state_dict") + b"h\x00s",
        "dict_of_one": b"(Nd",
        "dict_key_list": state(b"]", b"N"),
        "dict_key_dict": state(b"}", b"N"),
        "stack_empty": b"0",
        "stack_mark_popped": b"(\x85",
        "append_to_number": b"K\x01K\x02a",
        "set_item_of_list": b"]NNs",
        "no_mark": b"NNNt",
        "add_items_to_list": b"](K\x01\x90",
        "no_end": b"N" * 1000,
        "unknown": b"\xff",
        "surrogates": state(b"X\x03\x00\x00\x00\xed\xa0\x80", tensor()),
        "escape_codes": b"c\x1b[2J\n\x1b]0;a\x07\n)R",
        "escape_codes_in_a_root": _module("\x1b[2J.\x1b]0;a\x07", b"}"),
    }
    far = number(1 << 70)
    tensors = {
        "size_0_2_70": weights(tensor(size=b"K\x00" + far + b"\x86", stride=b"K\x01K\x01\x86")),
        "size_0_2_62": weights(tensor(size=b"K\x00" + number(1 << 62) + b"\x86", stride=b"K\x01K\x01\x86")),
        "size_2_40": weights(tensor(size=number(1 << 40) + b"\x85", stride=b"K\x00\x85")),
        "size_negative": weights(tensor(size=b"J\xff\xff\xff\xff\x85")),
        "size_float": weights(tensor(size=b"G?\xf0\x00\x00\x00\x00\x00\x00\x85")),
        "size_true": weights(tensor(size=b"\x88\x85")),
        "size_text": weights(tensor(size=text("2"))),
        "size_number": weights(tensor(size=b"K\x02")),
        "size_of_many_edges": weights(
            tensor(size=b"(" + b"K\x01" * 100_000 + b"t", stride=b"(" + b"K\x01" * 100_000 + b"t")
        ),
        "size_and_stride": weights(tensor(size=b"K\x01K\x01\x86")),
        "stride_huge": weights(tensor(stride=number(1 << 62) + b"\x85")),
        "stride_far": weights(tensor(stride=far + b"\x85")),
        "offset_far": weights(tensor(offset=far)),
        "offset_beyond": weights(tensor(offset=b"K\x09")),
        "storage_far": weights(tensor(storage(length=far))),
        "storage_huge": weights(tensor(storage(length=number(1 << 50)))),
        "storage_negative": weights(tensor(storage(length=b"J\xff\xff\xff\xff"))),
        "storage_absent": weights(tensor(storage("7"))),
        "storage_key_up": weights(tensor(storage("../../data.pkl"))),
        "storage_key_long": weights(tensor(storage("a" * 1_000_000))),
        "storage_unknown_type": weights(tensor(storage(kind="QuantumStorage"))),
        "storage_type_of_text": weights(tensor(b"(" + text("storage") * 2 + text("0") + text("cpu") + b"K\x02tQ")),
        "storage_view_of_number": weights(
            tensor(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x02K\x05tQ")
        ),
        "storage_view_far": weights(
            tensor(
                b"("
                + text("storage")
                + b"ctorch\nFloatStorage\n"
                + text("0")
                + text("cpu")
                + b"K\x02"
                + text("a")
                + far
                + b"K\x01\x87tQ"
            )
        ),
        "tensor_of_text": weights(tensor(text("a"))),
        "one_tensor_a_thousand_times": b"}("
        + b"".join(text(f"encoder.{index}") + tensor() for index in range(10_000))
        + b"u",
        "no_filters": weights(tensor()),
        "a_number_for_a_name": state(b"K\x01", tensor()),
        "nothing_for_a_name": state(b"N", tensor()),
        "names_of_a_megabyte": text("encoder." + "a" * 1_000_000) + b"q\x010" + state(b"h\x01", tensor()),
        "names_with_escape_codes": state(text("encoder.\x1b[2J"), tensor()),
        "root_tensor": tensor(),
        "root_number": b"K\x01",
        "root_in_itself_as_model": b"}q\x00" + text("model") + b"h\x00s",
        "modules_twice": _modules_twice(40),
        "modules_deep": _modules_deep(20_000),
        "module_in_itself": _module("a.B", b"}") + b"q\x00}" + text("_modules") + b"}" + text("a") + b"h\x00ssb",
        "module_with_numbers": _module("a.B", state(text("_parameters"), b"K\x01", text("_modules"), b"K\x02")),
        "module_with_odd_names": _module("a.B", state(text("_parameters"), state(b"K\x01", tensor(), b"N", tensor()))),
        "module_with_odd_buffers": _module(
            "a.B",
            state(text("_buffers"), state(text("a"), tensor()), text("_non_persistent_buffers_set"), b"K\x01"),
        ),
    }
    return {**calls, **containers, **{f"tensor_{name}": program for name, program in tensors.items()}}


def as_archive(program: bytes, numbers: bytes = bytes(8)) -> bytes:
    """``program`` as torch 1.6 and later would have saved it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/data/0", numbers)
        archive.writestr("archive/version", b"3\n")
    return content.getvalue()


def as_stream(program: bytes, numbers: bytes = bytes(8)) -> bytes:
    """``program`` as torch before 1.6 would have saved it."""
    head = b"".join(pickle.dumps(value, 2) for value in (_MAGIC, 1001, {"little_endian": True}))
    keys = pickle.dumps(["0"], 2)
    return head + b"\x80\x02" + program + b"." + keys + struct.pack("<q", len(numbers) // 4) + numbers


def _archive_of(*members: tuple[str, bytes]) -> bytes:
    """An archive of stored members, whose names may also be equal."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a name is there twice
        for name, value in members:
            archive.writestr(zipfile.ZipInfo(name), value)
    return content.getvalue()


def _inflating(name: str, gigabytes: int) -> bytes:
    """An archive with a packed member that is ``gigabytes`` long when unpacked."""
    packer = zlib.compressobj(wbits=-15)
    first = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = first + again * (64 * gigabytes - 1) + packer.flush()
    size = gigabytes << 30
    wide = struct.pack("<HHQQ", 1, 16, size, len(packed))
    members = [("archive/data.pkl", 0, b"\x80\x02}.", b""), (f"archive/{name}", 8, packed, wide)]
    content, directory = b"", b""
    for path, method, value, extra in members if name != "data.pkl" else members[1:]:
        sizes = struct.pack("<2I", *(2 * [0xFFFFFFFF] if extra else 2 * [len(value)]))
        told = struct.pack("<HHHHHI", 45, 0, method, 0, 0, 0 if extra else zlib.crc32(value)) + sizes
        lengths = struct.pack("<HH", len(path), len(extra))
        start = len(content)
        content += b"PK\x03\x04" + told + lengths + path.encode() + extra + value
        directory += b"PK\x01\x02" + struct.pack("<H", 45) + told + lengths + bytes(10)
        directory += struct.pack("<I", start) + path.encode() + extra
    count = len(members) if name != "data.pkl" else 1
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(content), 0)
    return content + directory + b"PK\x05\x06" + end


def _changed(field: str, value: bytes) -> bytes:
    """A good archive with a field of the directory's entry of its pickle, or of its end, overwritten."""
    content = bytearray(as_archive(weights(tensor())))
    entry, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    place = {
        "flags": entry + 8, "method": entry + 10, "crc": entry + 16, "packed": entry + 20, "size": entry + 24,
        "name length": entry + 28, "extra length": entry + 30, "header": entry + 42,
        "count": end + 10, "length": end + 12, "start": end + 16, "comment": end + 20,
    }[field]  # fmt: skip
    content[place : place + len(value)] = value
    return bytes(content)


def _zip64(length: int, start: int, place: int | None = None) -> bytes:
    """A good archive whose end says in 64 bits where the directory is."""
    content = as_archive(weights(tensor()))
    end = content.rindex(b"PK\x05\x06")
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 4, 4, length, start)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end if place is None else place, 1)
    last = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 4, 4, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:end] + record + locator + last


def _many_members(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"PK\x03\x04" + bytes(60))
        entry = b"PK\x01\x02" + bytes(24) + struct.pack("<HHH", 5, 0, 0) + bytes(12)
        for block in range(0, 3_000_000, 100_000):
            file.write(b"".join(entry + b"%05x" % (index % (1 << 20)) for index in range(block, block + 100_000)))
        length = file.tell() - 64
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0, 0, length, 64, 0))


def _tensor_in_a_sparse_file(path: Path) -> None:
    """A network of 50 GB of zeros that takes no place on the disk, for one small tensor."""
    length = 50 << 30
    head = as_stream(weights(tensor(storage(length=number(length // 4)))))[:-16]
    with path.open("wb") as file:
        file.write(head + struct.pack("<q", length // 4))
        file.truncate(len(head) + 8 + length)


@functools.cache
def archives() -> dict[str, Content]:
    """Archives that lie about themselves."""
    good = as_archive(weights(tensor()))
    return {
        "byteorder_inflates_to_6_gb": _inflating("byteorder", 6),
        "pickle_inflates_to_2_gb": _inflating("data.pkl", 2),
        "pickle_of_30_mb": as_archive(b"N0" * 15_000_000 + b"N"),
        "numbers_inflate": _inflating("data/0", 1),
        "numbers_of_7_bytes": as_archive(weights(tensor()), bytes(7)),
        "numbers_of_0_bytes": as_archive(weights(tensor()), b""),
        "big_endian": _archive_of(("a/data.pkl", b"\x80\x02}."), ("a/byteorder", b"big")),
        "encrypted": _changed("flags", b"\x01\x00"),
        "strongly_encrypted": _changed("flags", b"\x40\x00"),
        "method_unknown": _changed("method", b"\x63\x00"),
        "crc": _changed("crc", b"abcd"),
        "size_small": _changed("size", b"\x01\x00\x00\x00"),
        "size_huge": _changed("size", b"\xfe\xff\xff\xff"),
        "size_64_without_field": _changed("size", b"\xff\xff\xff\xff"),
        "sizes_huge": _changed("packed", b"\xf0\xff\xff\xff\xf0\xff\xff\xff"),
        "header_beyond": _changed("header", b"\xf0\xff\xff\xff"),
        "header_of_another": _changed("header", b"\x05\x00\x00\x00"),
        "name_long": _changed("name length", b"\xff\xff"),
        "extra_long": _changed("extra length", b"\xff\xff"),
        "directory_long": _changed("length", b"\xf0\xff\xff\x7f"),
        "directory_short": _changed("length", b"\x05\x00\x00\x00"),
        "directory_far": _changed("start", b"\xf0\xff\xff\x7f"),
        "comment_long": _changed("comment", b"\xff\xff"),
        "zip64_length_far": _zip64((1 << 64) - 1, 0),
        "zip64_start_far": _zip64(10, (1 << 63) + 5),
        "zip64_record_far": _zip64(10, 10, (1 << 64) - 5),
        "zip64_nonsense": _zip64(0, 0),
        "prepended": b"PK\x03\x04" + bytes(100) + good,
        "appended": good + bytes(100),
        "only_the_end": b"PK\x05\x06" + bytes(18),
        "only_the_beginning": b"PK\x03\x04",
        "many_members": _many_members,
        "two_pickles_of_one_name": _archive_of(*2 * [("a/data.pkl", b"\x80\x02}.")]),
        "two_pickles": _archive_of(("a/data.pkl", b"\x80\x02}."), ("b/data.pkl", b"\x80\x02].")),
        "two_pickles_by_case": _archive_of(("a/data.pkl", b"\x80\x02}."), ("a/DATA.PKL", b"\x80\x02].")),
        "absolute_name": _archive_of(("/etc/data.pkl", b"\x80\x02}.")),
        "name_up": _archive_of(("../../data.pkl", b"\x80\x02}.")),
        "torchscript": _archive_of(("a/data.pkl", b"\x80\x02}."), ("a/constants.pkl", b"\x80\x02).")),
        "other_zip": _archive_of(("readme", b"hello")),
        "empty_pickle": _archive_of(("a/data.pkl", b"")),
    }


def _safetensors(header: Any, numbers: bytes = b"", length: int | None = None) -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + numbers


def _entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def _described(**values: Any) -> bytes:
    """A file of one tensor with a description of a segmentation network."""
    told = {"schema": "medcli.segmenter.v1", "arch": "fpn", "encoder": "resnet18", **values}
    return _told(json.dumps(told))


def _told(description: str) -> bytes:
    return _safetensors({"__metadata__": {"medcli": description}, "a": _entry()}, bytes(8))


def _pose(**values: Any) -> bytes:
    told = {
        "schema": "medcli.pose_network.v1", "backbone": "resnet18", "size": 64, "anatomies": [1],
        "mean_pose": [1.0, 2.0, 3.0, 0.0, 0.0, 0.0],
    }  # fmt: skip
    return _told(json.dumps({name: value for name, value in {**told, **values}.items() if value is not ...}))


@functools.cache
def safetensors() -> dict[str, Content]:
    """Files of safetensors that contradict themselves, or describe no network."""
    tensors = {"a": _entry(), "b": _entry(offsets=(8, 16))}
    deep = "[" * 100_000 + "]" * 100_000
    return {
        "overlapping": _safetensors({**tensors, "b": _entry(offsets=(4, 12))}, bytes(16)),
        "same_place": _safetensors({**tensors, "b": _entry()}, bytes(16)),
        "gap": _safetensors({**tensors, "b": _entry(offsets=(12, 20))}, bytes(20)),
        "beyond": _safetensors({"a": _entry(offsets=(8, 16))}, bytes(8)),
        "cut": _safetensors(tensors, bytes(15)),
        "appended": _safetensors(tensors, bytes(17)),
        "offsets_far": _safetensors({"a": _entry(offsets=(0, 1 << 70))}, bytes(8)),
        "offsets_reversed": _safetensors({"a": _entry(offsets=(8, 0))}, bytes(8)),
        "offsets_negative": _safetensors({"a": _entry(offsets=(-8, 0))}, bytes(8)),
        "offsets_three": _safetensors({"a": _entry(offsets=(0, 8, 9))}, bytes(8)),
        "offsets_float": _safetensors({"a": _entry(offsets=(0, 8.0))}, bytes(8)),
        "offsets_text": _safetensors({"a": _entry(offsets="08")}, bytes(8)),
        "shape_negative": _safetensors({"a": _entry(shape=(-2,))}, bytes(8)),
        "shape_both_negative": _safetensors({"a": _entry(shape=(-2, -1))}, bytes(8)),
        "shape_far": _safetensors({"a": _entry(shape=(1 << 70, 0), offsets=(0, 0))}),
        "shape_0_2_62": _safetensors({"a": _entry(shape=(0, 1 << 62), offsets=(0, 0))}),
        "shape_true": _safetensors({"a": _entry(shape=(True, 2))}, bytes(8)),
        "shape_of_many_edges": _safetensors({"a": _entry(shape=(1,) * 50_000, offsets=(0, 4))}, bytes(4)),
        "shape_other": _safetensors({"a": _entry(shape=(3,))}, bytes(8)),
        "shape_null": _safetensors({"a": {"dtype": "F32", "shape": None, "data_offsets": [0, 8]}}, bytes(8)),
        "dtype_unknown": _safetensors({"a": _entry("F31")}, bytes(8)),
        "dtype_list": _safetensors({"a": _entry(["F32"])}, bytes(8)),
        "entry_list": _safetensors({"a": []}),
        "entry_null": _safetensors({"a": None}),
        "header_list": _safetensors([]),
        "header_number": _safetensors(5),
        "header_nan": _safetensors(b"NaN"),
        "header_no_utf8": _safetensors(b'{"a\xff": {}}'),
        "header_deep": _safetensors(("{" + '"a":[' * 1 + deep + "]}").encode()),
        "header_deep_objects": _safetensors(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "header_digits": _safetensors(b'{"a": ' + b"9" * 1_000_000 + b"}"),
        "header_twice": _safetensors(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}',
            bytes(16),
        ),
        "header_of_90_mb": lambda path: path.write_bytes(_safetensors(b"[" + b"[]," * 30_000_000 + b"[]]")),
        "header_of_4_mb": _safetensors(b'{"a":[' + b"{}," * 1_300_000 + b"{}]}"),
        "length_2_60": _safetensors(tensors, bytes(16), 1 << 60),
        "length_2_63": _safetensors(tensors, bytes(16), 1 << 63),
        "length_all": _safetensors(tensors, bytes(16), (1 << 64) - 1),
        "length_0": _safetensors(tensors, bytes(16), 0),
        "length_short": _safetensors(tensors, bytes(16), 20),
        "metadata_list": _safetensors({"__metadata__": [], "a": _entry()}, bytes(8)),
        "metadata_of_numbers": _safetensors({"__metadata__": {"medcli": 5}, "a": _entry()}, bytes(8)),
        "metadata_nested": _safetensors({"__metadata__": {"medcli": {"schema": "a"}}, "a": _entry()}, bytes(8)),
        "no_description": _safetensors(tensors, bytes(16)),
        "description_deep": _told(deep),
        "description_deep_inside": _told('{"schema": "medcli.segmenter.v1", "settings": {"a": ' + deep + "}}"),
        "description_50_deep": _described(settings={"a": json.loads("[" * 50 + "]" * 50)}),
        "description_list": _told("[]"),
        "description_number": _told("5"),
        "description_null": _told("null"),
        "description_empty": _told(""),
        "description_digits": _told('{"schema": ' + "9" * 100_000 + "}"),
        "description_control": _described(source="\x1b[2J\x1b]0;title\x07"),
        "description_surrogate": _described(source="\ud800"),
        "schema_number": _described(schema=5),
        "schema_null": _described(schema=None),
        "schema_list": _described(schema=["medcli.segmenter.v1"]),
        "schema_later": _described(schema="medcli.segmenter.v2"),
        "schema_escape": _described(schema="\x1b[2J" * 10_000),
        "arch_number": _described(arch=5),
        "arch_null": _described(arch=None),
        "arch_unknown": _described(arch="nothing"),
        "arch_long": _described(arch="a" * 1_000_000),
        "encoder_list": _described(encoder=[]),
        "encoder_unknown": _described(encoder="nothing"),
        "encoder_long": _described(encoder="a" * 100_000),
        "encoder_unknown_of_timm": _described(encoder="tu-nothing"),
        "encoder_elsewhere": _described(encoder="tu-hf-hub:someone/something"),
        "encoder_up": _described(encoder="tu-local-dir:/etc"),
        "encoder_of_a_billion": _described(encoder="tu-eva_giant_patch14_224"),
        "encoder_of_another_billion": _described(encoder="tu-convnextv2_huge"),
        "encoder_resnext": _described(encoder="resnext101_32x48d"),
        "mean_text": _described(mean="a"),
        "mean_huge": _described(mean=1e308),
        "mean_nan": _described(mean=float("nan")),
        "std_zero": _described(std=0),
        "std_negative": _described(std=-1),
        "std_null": _described(std=None),
        "input_size_text": _described(input_size="256"),
        "input_size_huge": _described(input_size=1 << 40),
        "input_size_zero": _described(input_size=0),
        "threshold_list": _described(threshold=[0.5]),
        "threshold_huge": _described(threshold=7),
        "settings_list": _described(settings=[]),
        "splits_text": _described(splits="abc"),
        "splits_of_text": _described(splits={"train": ["a"]}),
        "splits_number": _described(splits={"train": 5}),
        "splits_nested": _described(splits={"val": [[2]]}),
        "warnings_numbers": _described(splits={"warnings": [1, 2]}),
        "warnings_number": _described(splits={"warnings": 5}),
        "metrics_null": _described(metrics=None),
        "other_weights": _described(),
        "pose_other_weights": _pose(),
        "pose_backbone_number": _pose(backbone=5),
        "pose_backbone_unknown": _pose(backbone="nothing"),
        "pose_backbone_of_a_billion": _pose(backbone="vit_h_14"),
        "pose_without_size": _pose(size=...),
        "pose_size_text": _pose(size="64"),
        "pose_size_huge": _pose(size=1 << 30),
        "pose_anatomies_number": _pose(anatomies=5),
        "pose_anatomies_text": _pose(anatomies="12"),
        "pose_anatomies_missing": _pose(anatomies=...),
        "pose_mean_short": _pose(mean_pose=[1.0]),
        "pose_mean_text": _pose(mean_pose=["a"] * 6),
        "pose_mean_infinite": _pose(mean_pose=[float("inf")] * 6),
        "pose_splits_endless": _pose(splits={"train": "1-999999999"}),
        "pose_splits_text": _pose(splits={"train": "abc"}),
        "pose_splits_numbers": _pose(splits={"train": [1]}),
        "pose_settings_null": _pose(settings=None),
    }


@functools.cache
def others() -> dict[str, Content]:
    """What is no checkpoint at all. The names carry their suffixes."""
    onnx = b"\x08\x08\x12\x07pytorch\x1a\x052.5.0:" + bytes(200)
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 90000000\n"
    good = as_archive(weights(tensor()))

    def link(path: Path, target: str) -> None:
        path.symlink_to(target)

    def sparse(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(100 << 30)

    tar = io.BytesIO(b"pickle" + bytes(251) + b"ustar\x0000" + bytes(1000))
    found: dict[str, Content] = {}
    for suffix in (".pth", ".safetensors"):
        found |= {
            f"folder{suffix}": lambda path: path.mkdir(),
            f"pipe{suffix}": lambda path: os.mkfifo(path),
            f"link_to_zero{suffix}": lambda path: link(path, "/dev/zero"),
            f"link_to_random{suffix}": lambda path: link(path, "/dev/urandom"),
            f"link_to_nothing{suffix}": lambda path: link(path, "nowhere"),
            f"link_to_itself{suffix}": lambda path: link(path, path.name),
            f"link_to_folder{suffix}": lambda path: link(path, "/etc"),
            f"sparse{suffix}": sparse,
            f"empty{suffix}": b"",
            f"one_byte{suffix}": b"\x80",
            f"zeros{suffix}": bytes(1_000_000),
            f"text{suffix}": b"These are no weights.\n" * 100,
            f"web_page{suffix}": b"\n<!DOCTYPE html><html><body>Log in</body></html>",
            f"lfs{suffix}": lfs,
            f"json{suffix}": b'{"schema": "medcli.segmenter.v1"}',
            f"onnx{suffix}": onnx,
            f"gzip{suffix}": gzip.compress(good, mtime=0),
            f"tar{suffix}": tar.getvalue(),
            f"png{suffix}": b"\x89PNG\r\n\x1a\n" + bytes(100),
            f"hdf5{suffix}": b"\x89HDF\r\n\x1a\n" + bytes(100),
            f"random{suffix}": bytes((index * index * 7 + 3) % 251 for index in range(5000)),
        }
    return found | {
        "network.onnx": onnx,
        "other_safetensors.pth": _safetensors({"a": _entry()}, bytes(8)),
        "torch_archive.safetensors": good,
        "torch_stream.safetensors": as_stream(weights(tensor())),
        "ends_wrongly.bin": b"\x80\x02K\x01.",
        "sparse_numbers.pth": _tensor_in_a_sparse_file,
    }


def write_all(folder: Path) -> list[Path]:
    """Every file of this module, below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Content] = dict(others())
    for name, program in pickles().items():
        files[f"archive_{name}.pth"] = as_archive(program)
        files[f"stream_{name}.pth"] = as_stream(program)
    files |= {f"zip_{name}.pth": content for name, content in archives().items()}
    files |= {f"st_{name}.safetensors": content for name, content in safetensors().items()}
    return sorted(write_file(folder / name, content) for name, content in files.items())


def write_file(path: Path, content: Content) -> Path:
    """One file of this module."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    return path
