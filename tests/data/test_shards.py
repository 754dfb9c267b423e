import hashlib
import os
import pickle
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from langpose_dist.data.cache import default_cache_dir
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError, Sample
from langpose_dist.data.shards import ShardReader, read_tar, tar_members
from langpose_dist.datasets.shard_writer import ShardWriter


def all_places(manifest: Manifest) -> list[tuple[int, int]]:
    return [
        (index, number) for index, shard in enumerate(manifest.shards) for number in range(shard.num_samples)
    ]


def test_any_frames_of_any_clip_are_those_that_were_written(dataset: Path, samples: list[Sample]) -> None:
    manifest = Manifest.load(dataset)
    reader = ShardReader(manifest, dataset)
    for (shard, number), sample in zip(all_places(manifest), samples, strict=True):
        for start, stop in ((0, len(sample.poses_3d)), (1, 2), (3, 5)):
            poses = reader.read_poses(shard, number, start, stop)
            np.testing.assert_array_equal(poses, sample.poses_3d[start:stop])
            assert poses.flags.writeable


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 6), (2, 2), (3, 1)])
def test_frames_outside_the_clip_are_an_index_error(dataset: Path, start: int, stop: int) -> None:
    reader = ShardReader(Manifest.load(dataset), dataset)
    with pytest.raises(IndexError, match=r"outside 0\.\.5"):
        reader.read_poses(0, 0, start, stop)


def test_whole_samples_come_in_order(dataset: Path, samples: list[Sample]) -> None:
    reader = ShardReader(Manifest.load(dataset), dataset)
    found = [sample for index in range(3) for sample in reader.iter_samples(index)]
    assert [sample.key for sample in found] == [sample.key for sample in samples]
    assert [sample.spans for sample in found] == [sample.spans for sample in samples]
    assert [sample.meta for sample in found] == [sample.meta for sample in samples]


def test_equal_samples_give_equal_bytes(tmp_path: Path, samples: list[Sample]) -> None:
    hashes = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with ShardWriter(tmp_path / name / "train-000000.tar", "train") as writer:
            for sample in samples:
                writer.add(sample)
            shard = writer.finish()
        hashes.append(shard.sha256)
        content = (tmp_path / name / shard.name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (shard.sha256, shard.num_bytes)
    assert hashes[0] == hashes[1]
    with tarfile.open(tmp_path / "first" / "train-000000.tar") as tar:
        member = tar.getmembers()[0]
        assert (member.mtime, member.uname, member.uid) == (0, "", 0)


def test_a_shard_that_was_not_finished_does_not_exist(tmp_path: Path, samples: list[Sample]) -> None:
    def write_and_fail() -> None:
        with ShardWriter(tmp_path / "train-000000.tar", "train") as writer:
            for sample in samples[:3]:
                writer.add(sample)
            assert [path.name for path in tmp_path.iterdir()] == ["train-000000.tar.partial"]
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="luck"):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_damage_is_reported_with_shard_and_remedy(dataset: Path) -> None:
    manifest = Manifest.load(dataset)
    path = dataset / "train-000000.tar"
    whole = path.read_bytes()
    offset, _ = manifest.shards[0].samples[0].poses
    for content, problem in (
        (whole[:-512], r"has \d+ bytes, the manifest says"),
        (bytes(len(whole)), "npy header"),
        (whole[:offset] + b"\x80\x04cos\n" + whole[offset + 6 :], "npy header"),
        (whole.replace(b"(5, 17, 3)", b"(6, 17, 3)"), "6 frames, the manifest says 5"),
        (whole.replace(b"'<f4'", b"'<i4'"), "int32"),
        (whole.replace(b"False", b"True "), "F order"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=problem) as caught:
            ShardReader(manifest, dataset).read_poses(0, 0, 0, 5)
        assert "train-000000.tar" in str(caught.value)
        assert "langpose data verify" in str(caught.value)
    path.unlink()
    with pytest.raises(DataError, match="is missing"):
        ShardReader(manifest, dataset).read_poses(0, 0, 0, 5)


def test_a_shard_that_shrinks_while_it_is_open_is_an_error_and_not_a_crash(dataset: Path) -> None:
    reader = ShardReader(Manifest.load(dataset), dataset)
    reader.read_poses(0, 0, 0, 5)
    os.truncate(dataset / "train-000000.tar", 1000)
    with pytest.raises(DataError, match="ends at byte"):
        reader.read_poses(0, 2, 0, 7)


def test_the_tar_reader_does_not_hide_a_foreign_shard(dataset: Path) -> None:
    manifest = Manifest.load(dataset)
    shutil.copy(dataset / "train-000001.tar", dataset / "train-000000.tar")
    with pytest.raises(DataError, match="holds 'clip_3', which the manifest does not list there"):
        list(ShardReader(manifest, dataset).iter_samples(0))
    (dataset / "train-000000.tar").write_bytes(bytes(10240))
    with pytest.raises(DataError, match="ends before 'clip_0'"):
        list(ShardReader(manifest, dataset).iter_samples(0))


def test_a_missing_or_broken_tar_is_a_data_error(dataset: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        list(read_tar(str(dataset / "none.tar")))
    path = dataset / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="is damaged"):
        list(read_tar(str(path)))


def test_many_shards_need_few_open_files(tmp_path: Path, samples: list[Sample]) -> None:
    shards = []
    for number in range(70):
        with ShardWriter(tmp_path / f"train-{number:06d}.tar", "train") as writer:
            writer.add(Sample(f"clip_{number}", samples[0].poses_3d + number, ()))
            shards.append(writer.finish())
    manifest = Manifest.create(
        tool_version="1",
        dataset="made",
        source="test",
        fps=30.0,
        statistics=None,
        shards=tuple(shards),
        build={},
        skipped=(),
    )
    reader = ShardReader(manifest, tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        for index in range(70):
            np.testing.assert_array_equal(reader.read_poses(index, 0, 0, 5), samples[0].poses_3d + index)
    assert len(os.listdir("/proc/self/fd")) - before <= 64
    reader.close()
    assert len(os.listdir("/proc/self/fd")) <= before


class Clips(Dataset[np.ndarray]):
    def __init__(self, reader: ShardReader, places: list[tuple[int, int]]) -> None:
        self.reader = reader
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.reader.read_poses(*self.places[index], 0, 5)


def test_a_used_reader_can_be_pickled_and_forked(dataset: Path, samples: list[Sample]) -> None:
    manifest = Manifest.load(dataset)
    reader = ShardReader(manifest, dataset)
    reader.read_poses(0, 0, 0, 5)  # a file is open now
    copy = pickle.loads(pickle.dumps(reader))  # noqa: S301
    np.testing.assert_array_equal(copy.read_poses(1, 0, 0, 5), samples[3].poses_3d[:5])
    loader = DataLoader(
        Clips(reader, all_places(manifest) * 5),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="fork",
    )
    for index, poses in enumerate(loader):
        np.testing.assert_array_equal(poses, samples[index % 7].poses_3d[:5])


class QuietHandler(SimpleHTTPRequestHandler):
    requests: list[str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.requests.append(self.path)
        super().do_GET()


@pytest.fixture
def server(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """URL of the data set, and the paths that were asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = type("Handler", (QuietHandler,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(dataset))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}", handler.requests
        http.shutdown()
        thread.join()


def test_remote_shards_are_fetched_once_per_node(
    server: tuple[str, list[str]], samples: list[Sample], tmp_path: Path
) -> None:
    url, requests = server
    manifest = Manifest.load(url)
    for _ in range(2):
        reader = ShardReader(manifest, url, tmp_path / "cache")
        for (shard, number), sample in zip(all_places(manifest), samples, strict=True):
            np.testing.assert_array_equal(reader.read_poses(shard, number, 0, 5), sample.poses_3d[:5])
    assert requests == ["/manifest.json"] + [f"/{shard.name}" for shard in manifest.shards]


def test_processes_of_a_node_share_one_fetch(
    server: tuple[str, list[str]], samples: list[Sample], tmp_path: Path
) -> None:
    url, requests = server
    manifest = Manifest.load(url)
    reader = ShardReader(manifest, url, tmp_path / "cache")
    loader = DataLoader(
        Clips(reader, [(0, 0)] * 6), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    for poses in loader:
        np.testing.assert_array_equal(poses, samples[0].poses_3d)
    assert requests.count("/train-000000.tar") == 1


@pytest.mark.parametrize("change", ["flip", "shorten", "lengthen"])
def test_a_remote_shard_with_another_hash_is_refused_and_not_kept(
    server: tuple[str, list[str]], dataset: Path, tmp_path: Path, change: str
) -> None:
    url, _ = server
    manifest = Manifest.load(url)
    path = dataset / "train-000000.tar"
    content = bytearray(path.read_bytes())
    if change == "flip":
        content[3000] ^= 1
    path.write_bytes(
        content[:-1]
        if change == "shorten"
        else content + bytes(4_000_000)
        if change == "lengthen"
        else content
    )
    with pytest.raises(DataError, match=r"train-000000\.tar is not the shard that the manifest lists"):
        ShardReader(manifest, url, tmp_path / "cache").read_poses(0, 0, 0, 5)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_an_address_without_data_is_one_line(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, _ = server
    with pytest.raises(DataError, match=r"nowhere/manifest\.json cannot be fetched"):
        Manifest.load(f"{url}/nowhere")
    manifest = Manifest.load(url)
    with pytest.raises(DataError, match="cannot be fetched"):
        ShardReader(manifest, f"{url}/nowhere", tmp_path / "cache").read_poses(0, 0, 0, 5)


@pytest.mark.parametrize(
    "url", ["pipe:touch hacked", "pipe://touch hacked", "ftp://host/data", "file:///data"]
)
def test_other_schemes_are_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"scheme '\w+' is not supported"):
        Manifest.load(url)
    assert not list(tmp_path.iterdir())


def test_s3_and_gs_go_through_their_own_programs(
    dataset: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match="needs the program 'aws'"):
        Manifest.load("s3://bucket")
    # Stand-ins that print the file which the bucket would hold, if called as the real ones are.
    (tmp_path / "bin").mkdir()
    for name, condition in (("aws", '"$*" = "s3 cp --only-show-errors $4 -"'), ("gsutil", '"$*" = "cat $2"')):
        program = tmp_path / "bin" / name
        last = "$4" if name == "aws" else "$2"
        program.write_text(
            f'#!/bin/sh\n[ {condition} ] && exec /bin/cat "{dataset}/${{{last[1:]}##*/}}"\nexit 9\n'
        )
        program.chmod(0o755)
    for url in ("s3://bucket/data", "gs://bucket/data"):
        reader = ShardReader(Manifest.load(url), url, tmp_path / "cache")
        np.testing.assert_array_equal(reader.read_poses(1, 0, 0, 5), samples[3].poses_3d[:5])
    (dataset / "manifest.json").unlink()
    for url in ("s3://bucket/data", "gs://bucket/data"):
        with pytest.raises(DataError, match="cannot be fetched"):
            Manifest.load(url)


def test_the_cache_follows_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "langpose" / "shards"


def test_a_shard_is_verified_byte_by_byte(dataset: Path) -> None:
    manifest = Manifest.load(dataset)
    path = dataset / "train-000000.tar"
    whole = path.read_bytes()
    reader = ShardReader(manifest, dataset)
    for index in range(3):
        reader.verify(index)
    for place in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        ShardReader(manifest, dataset).check_size(0)
        with pytest.raises(
            DataError, match=r"train-000000\.tar is damaged: its SHA-256 is not the manifest's"
        ):
            ShardReader(manifest, dataset).verify(0)


def test_a_shard_cut_between_two_members_is_found_although_tar_sees_nothing_wrong(dataset: Path) -> None:
    manifest = Manifest.load(dataset)
    path = dataset / "train-000000.tar"
    whole = path.stat().st_size
    offset, size = manifest.shards[0].samples[1].poses
    length = offset + -(-size // 512) * 512
    os.truncate(path, length)
    assert list(tar_members(path)) == ["clip_0", "clip_1"]
    reader = ShardReader(manifest, dataset)
    for check in (reader.check_size, reader.verify):
        with pytest.raises(DataError, match=f"has {length} bytes, the manifest says {whole}"):
            check(0)
    with pytest.raises(DataError, match="ends before 'clip_2'"):
        list(reader.iter_samples(0))
    path.unlink()
    for check in (reader.check_size, reader.verify):
        with pytest.raises(DataError, match="is missing"):
            check(0)


def test_a_remote_shard_is_fetched_to_be_verified(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, requests = server
    reader = ShardReader(Manifest.load(url), url, tmp_path / "cache")
    reader.verify(1)
    assert [name for name in requests if name.endswith(".tar")] == ["/train-000001.tar"]
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 1


def test_a_tar_that_holds_less_than_it_gives_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.poses_3d.npy").touch()
    os.truncate(tmp_path / "a.poses_3d.npy", 10**8)
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        tar.add(tmp_path / "a.poses_3d.npy", "a.poses_3d.npy")
    with pytest.raises(DataError, match=r"packed\.tar is damaged"):
        list(read_tar(str(tmp_path / "packed.tar")))
    with pytest.raises(DataError, match=r"packed\.tar is damaged"):
        tar_members(tmp_path / "packed.tar")


def test_a_member_with_holes_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a.poses_3d.npy")
    member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(10**8)}
    with tarfile.open(tmp_path / "holes.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member)
    with pytest.raises(DataError, match=r"holes\.tar is damaged: a\.poses_3d\.npy has holes"):
        list(read_tar(str(tmp_path / "holes.tar")))
