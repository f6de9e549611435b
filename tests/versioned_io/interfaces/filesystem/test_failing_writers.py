"""A writer that fails publishes nothing, however it was opened and closed; one that succeeds publishes once."""

import asyncio
import contextlib
import gc
import gzip
import io
import json
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
import weakref
import zipfile
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

import versioned_io as vio
from versioned_io.errors import InvalidInputError
from versioned_io.interfaces.filesystem import VersionedFileSystem

URL = "versioned://r@main/made"


class Boom(Exception):  # noqa: N818 (what it does is its name)
    """What makes a writer fail."""


class Unpicklable:
    def __reduce__(self):
        raise Boom

    def __str__(self):
        raise Boom


class FailingReader(io.RawIOBase):
    """Ten bytes, and then an error."""

    def __init__(self):
        self.rest = [b"0123456789"]

    def readable(self):
        return True

    def read(self, size=-1):
        if not self.rest:
            raise Boom
        return self.rest.pop()


def half(file, error=Boom):
    file.write(b"half" if not isinstance(file, io.TextIOBase) else "half")
    raise error


def in_a_with_block(fs, options):
    with fs.open(URL, "wb") as file:
        half(file)


def in_a_with_block_of_text(fs, options):
    with fs.open(URL, "w") as file:
        half(file)


def appending(fs, options):
    with fs.open(URL, "ab") as file:
        half(file)


def in_a_block_of_fsspec(mode, **more):
    def fail(fs, options):
        with fsspec.open(URL, mode, **options, **more) as file:
            half(file)

    return fail


def compressed(codec):
    def fail(fs, options):
        with fs.open(URL, "wb", compression=codec) as file:
            half(file)

    return fail


def compressed_text(fs, options):
    with fs.open(f"{URL}.gz", "w", compression="infer") as file:
        half(file)


def closed_in_finally(mode, **more):
    def fail(fs, options):
        file = fs.open(URL, mode, **more)
        try:
            half(file)
        finally:
            file.close()

    return fail


def closed_in_finally_of_another_function(fs, options):
    file = fs.open(URL, "wb")

    def tidy_up():
        file.close()

    try:
        half(file)
    finally:
        tidy_up()


def closed_by_a_wrapper(fs, options):
    with contextlib.closing(fs.open(URL, "wb")) as file:
        half(file)


def closed_by_an_exit_stack(fs, options):
    with contextlib.ExitStack() as stack:
        file = fs.open(URL, "wb")
        stack.callback(file.close)
        half(file)


def closed_where_the_error_is_handled(fs, options):
    file = fs.open(URL, "wb")
    try:
        half(file)
    except Boom:
        file.close()
        raise


def with_another_exception(kind):
    def fail(fs, options):
        try:
            with fsspec.open(URL, "w", **options) as file:
                half(file, kind)
        except BaseException as error:
            raise Boom from error

    return fail


def by_a_generator_that_is_closed(fs, options):
    def lines():
        with fsspec.open(URL, "wb", **options) as file:
            while True:
                file.write((yield))

    writer = lines()
    next(writer)
    writer.send(b"half")
    writer.close()
    raise Boom


def by_a_generator_that_is_collected(fs, options):
    def lines():
        file = fs.open(URL, "wb")
        try:
            while True:
                file.write((yield))
        finally:
            file.close()

    writer = lines()
    next(writer)
    writer.send(b"half")
    del writer
    gc.collect()
    raise Boom


def never_closed(mode, **more):
    def fail(fs, options):
        half(fs.open(URL, mode, **more))

    return fail


def never_closed_by_fsspec(mode, **more):
    def fail(fs, options):
        half(fsspec.open(URL, mode, **options, **more).open())

    return fail


def in_a_cycle(fs, options):
    class Writer:
        pass

    writer = Writer()
    writer.me = writer
    writer.file = fs.open(URL, "w")
    half(writer.file)


def closed_by_a_finalizer(fs, options):
    class Writer:
        pass

    writer = Writer()
    file = fs.open(URL, "wb")
    weakref.finalize(writer, file.close)
    half(file)


def closed_by_a_destructor(fs, options):
    class Writer:
        def __del__(self):
            self.file.close()

    writer = Writer()
    writer.file = fsspec.open(URL, "w", compression="gzip", **options).open()
    half(writer.file)


def buffered_and_never_closed(fs, options):
    file = io.BufferedWriter(fs.open(URL, "wb"))
    file.write(b"half")
    raise Boom


def zipped(fs, options):
    with fs.open(URL, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"half")
        raise Boom


def gzipped_by_hand(fs, options):
    file = fs.open(URL, "wb")
    with gzip.GzipFile(fileobj=file, mode="wb") as packed:
        half(packed)


def in_a_thread(fs, options):
    def work():
        with contextlib.suppress(Boom), fsspec.open(URL, "wb", **options) as file:
            half(file)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    raise Boom


def in_a_task(fs, options):
    async def work():
        with fsspec.open(URL, "wb", **options) as file:
            await asyncio.sleep(0)
            half(file)

    asyncio.run(work())


def in_a_transaction(fs, options):
    with fs.transaction:
        fs.pipe(URL, b"whole")
        raise Boom


def in_a_transaction_that_is_ended_by_hand(fs, options):
    fs.start_transaction()
    try:
        with fs.open(URL, "wb") as file:
            half(file)
    finally:
        fs.transaction.complete(commit=False)


def json_dump(fs, options):
    with fsspec.open(URL, "w", **options) as file:
        json.dump({"a": 1, "b": Unpicklable()}, file, default=str)


def pickle_dump(fs, options):
    with fsspec.open(URL, "wb", **options) as file:
        pickle.dump([1, Unpicklable()], file)


def copyfileobj(fs, options):
    with fsspec.open(URL, "wb", **options) as file:
        shutil.copyfileobj(FailingReader(), file)


def pipe_of_what_is_no_bytes(fs, options):
    try:
        fs.pipe({URL: b"whole", f"{URL}2": object()})
    except TypeError as error:
        raise Boom from error


def put_of_what_is_not_there(fs, options):
    try:
        fs.put(["/etc/hostname", "/no/such/file"], ["r@main/a", URL])
    except OSError as error:
        raise Boom from error


def a_path_of_upath(fs, options):
    upath = pytest.importorskip("upath")
    with upath.UPath(URL, **options).open("w") as file:
        half(file)


def numpy_save(fs, options):
    np = pytest.importorskip("numpy")
    with fsspec.open(URL, "wb", **options) as file:
        np.save(file, np.array([1, Unpicklable()], dtype=object), allow_pickle=True)


def joblib_dump(fs, options):
    joblib = pytest.importorskip("joblib")
    with fsspec.open(URL, "wb", **options) as file:
        joblib.dump([b"x" * 100_000, Unpicklable()], file)


def frame():
    pd = pytest.importorskip("pandas")
    return pd.DataFrame({"n": [*range(5000), 1], "o": ["x"] * 5000 + [Unpicklable()]})


def to_csv(fs, options):
    frame().to_csv(URL, storage_options=options, chunksize=10)


def to_compressed_csv(fs, options):
    frame().to_csv(f"{URL}.csv.gz", storage_options=options, chunksize=10)


def to_pickle(fs, options):
    frame().to_pickle(URL, storage_options=options)


def to_json(fs, options):
    frame().to_json(URL, storage_options=options, orient="records", default_handler=str)


def to_parquet(fs, options):
    try:
        frame().to_parquet(URL, storage_options=options)
    except Exception as error:
        raise Boom from error


def arrow(fs):
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return PyFileSystem(FSSpecHandler(fs))


def batches():
    import pyarrow as pa

    yield pa.record_batch({"n": list(range(100))})
    raise Boom


def parquet_writer(fs, options):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(URL.partition("://")[2], pa.schema([("n", pa.int64())]), filesystem=arrow(fs)) as writer:
        for batch in batches():
            writer.write_batch(batch)


def parquet_writer_on_a_file(fs, options):
    import pyarrow as pa
    import pyarrow.parquet as pq

    with fs.open(URL, "wb") as file, pq.ParquetWriter(file, pa.schema([("n", pa.int64())])) as writer:
        for batch in batches():
            writer.write_batch(batch)


def parquet_writer_that_is_never_closed(fs, options):
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = pq.ParquetWriter(URL.partition("://")[2], pa.schema([("n", pa.int64())]), filesystem=arrow(fs))
    for batch in batches():
        writer.write_batch(batch)


def arrow_stream(fs, options):
    with arrow(fs).open_output_stream(URL.partition("://")[2]) as stream:
        half(stream)


def arrow_stream_that_is_never_closed(fs, options):
    half(arrow(fs).open_output_stream(URL.partition("://")[2]))


def arrow_dataset(fs, options):
    import pyarrow as pa
    import pyarrow.dataset as ds

    with fs.transaction:
        ds.write_dataset(
            batches(), "r@main/made", schema=pa.schema([("n", pa.int64())]), format="parquet", filesystem=arrow(fs)
        )


def arrow_dataset_of_csv(fs, options):
    import pyarrow as pa
    import pyarrow.dataset as ds

    schema = pa.schema([("n", pa.int64())])
    ds.write_dataset(batches(), "r@main/made", schema=schema, format="csv", filesystem=arrow(fs))


def polars_sink(fs, options):
    pl = pytest.importorskip("polars")
    lazy = pl.LazyFrame({"n": range(100_000)}).select(pl.col("n").map_batches(raise_boom, return_dtype=pl.Int64))
    try:
        with fs.open(URL, "wb") as file:
            lazy.sink_csv(file)
    except pl.exceptions.PolarsError as error:
        raise Boom from error


def duckdb_copy(name, *, in_a_transaction, threads=1):
    def fail(fs, options):
        duckdb = pytest.importorskip("duckdb")
        query = f"""
            copy (select case when range < 90000 then range else error('boom') end as n from range(100000))
            to 'versioned://r@main/{name}'
        """
        block = fs.transaction if in_a_transaction else contextlib.nullcontext()
        try:
            with duckdb.connect() as connection, block:
                connection.execute(f"set threads = {threads}")
                connection.register_filesystem(fs)
                connection.execute(query)
        except duckdb.Error as error:
            raise Boom from error

    return fail


def raise_boom(_):
    raise Boom


FAILURES = [
    in_a_with_block,
    in_a_with_block_of_text,
    appending,
    *(
        pytest.param(in_a_block_of_fsspec(mode, **more), id=f"fsspec.open({mode!r}, {more})")
        for mode, more in [("w", {}), ("wb", {}), ("w", {"compression": "gzip"}), ("wb", {"compression": "bz2"})]
    ),
    *(pytest.param(compressed(codec), id=f"fs.open(compression={codec!r})") for codec in ("gzip", "bz2", "xz", "zip")),
    compressed_text,
    *(
        pytest.param(closed_in_finally(mode, **more), id=f"closed in finally ({mode!r}, {more})")
        for mode, more in [("w", {}), ("wb", {}), ("wb", {"compression": "gzip"}), ("w", {"compression": "xz"})]
    ),
    closed_in_finally_of_another_function,
    closed_by_a_wrapper,
    closed_by_an_exit_stack,
    closed_where_the_error_is_handled,
    *(
        pytest.param(with_another_exception(kind), id=kind.__name__)
        for kind in (KeyboardInterrupt, SystemExit, GeneratorExit)
    ),
    by_a_generator_that_is_closed,
    by_a_generator_that_is_collected,
    *(
        pytest.param(never_closed(mode, **more), id=f"never closed ({mode!r}, {more})")
        for mode, more in [("w", {}), ("wb", {}), ("wb", {"compression": "gzip"}), ("w", {"compression": "bz2"})]
    ),
    *(
        pytest.param(never_closed_by_fsspec(mode, **more), id=f"never closed, fsspec.open({mode!r}, {more})")
        for mode, more in [("w", {}), ("wb", {}), ("wb", {"compression": "gzip"}), ("w", {"compression": "gzip"})]
    ),
    in_a_cycle,
    closed_by_a_finalizer,
    closed_by_a_destructor,
    buffered_and_never_closed,
    zipped,
    gzipped_by_hand,
    in_a_thread,
    in_a_task,
    in_a_transaction,
    in_a_transaction_that_is_ended_by_hand,
    json_dump,
    pickle_dump,
    copyfileobj,
    pipe_of_what_is_no_bytes,
    put_of_what_is_not_there,
    a_path_of_upath,
    numpy_save,
    joblib_dump,
    to_csv,
    to_compressed_csv,
    to_pickle,
    to_json,
    to_parquet,
    parquet_writer,
    parquet_writer_on_a_file,
    parquet_writer_that_is_never_closed,
    arrow_stream,
    arrow_stream_that_is_never_closed,
    arrow_dataset,
    arrow_dataset_of_csv,
    polars_sink,
    pytest.param(duckdb_copy("made.parquet", in_a_transaction=False), id="duckdb, Parquet"),
    *(
        pytest.param(duckdb_copy(name, in_a_transaction=False, threads=threads), id=f"duckdb, {name}, {threads}")
        for name in ("made.csv", "made.json", "made.csv.gz", "made")
        for threads in (1, 4)
    ),
    *(
        pytest.param(duckdb_copy(f"made.{kind}", in_a_transaction=True), id=f"duckdb, {kind}, in a transaction")
        for kind in ("parquet", "csv", "json")
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _little_garbage():
    """Leave what other tests have made out of the many collections of garbage here."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("store") / "s")
    with vio.create_store(path) as store:
        store.create_repo("r")
        with store.transaction("r@main") as tx:
            tx.write("there", b"before")
    return path


@pytest.fixture
def options(place):
    return {"store": place}


@pytest.fixture
def fs(options):
    return fsspec.filesystem("versioned", **options)


@pytest.mark.parametrize("fail", FAILURES)
def test_a_writer_that_fails_publishes_nothing(fail, fs, options):
    before = fs.store.commit("r@main").id
    with pytest.raises(Boom):
        fail(fs, options)
    gc.collect()
    found = [path for path in fs.find("r@main") if path != "r@main/there"]
    if found:  # what fails here must not make the next one fail
        fs.rm(found)
    assert found == []
    assert fs.store.commit("r@main").id == before
    assert not fs._intrans


def test_at_the_end_of_the_interpreter_a_file_that_nobody_closed_is_not_written(fs, place):
    before = fs.store.commit("r@main").id
    script = f"""
        import fsspec
        files = [fsspec.open("versioned://r@main/" + mode, mode, store={place!r}).open() for mode in ("w", "wb")]
        files[0].write("half"), files[1].write(b"half")
        me = {{"file": fsspec.open("versioned://r@main/cycle", "w", compression="gzip", store={place!r}).open()}}
        me["me"] = me
        me["file"].write("half")
        raise SystemExit(3)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"Traceback" not in done.stderr
    assert fs.store.commit("r@main").id == before


# What succeeds


def close_outside_of_any_exception(fs):
    file = fs.open(URL, "w")
    file.write("whole")
    file.close()


def report_of_an_error(fs):
    try:
        raise Boom
    except Boom:
        with fs.open(URL, "w") as file:
            file.write("whole")


def report_of_an_error_closed_by_hand(fs):
    try:
        raise Boom
    except Boom:
        file = fs.open(URL, "w")
        with contextlib.suppress(KeyError):
            raise KeyError from None
        file.write("whole")
        file.close()


def report_that_outlives_the_inner_error(fs):
    try:
        raise Boom
    except Boom:
        try:
            raise KeyError
        except KeyError:
            file = fs.open(URL, "w")
        file.write("whole")
        file.close()


def report_with_fsspec(fs):
    try:
        raise Boom
    except Boom:
        with fsspec.open(URL, "w", compression="gzip", store=fs.store.url) as file:
            file.write("whole")


def report_from_a_function(fs):
    def report(error):
        with fsspec.open(URL, "w", store=fs.store.url) as file:
            file.write(repr(error))

    try:
        raise Boom
    except Boom as error:
        report(error)


def report_of_a_frame(fs):
    try:
        raise Boom
    except Boom:
        pd = pytest.importorskip("pandas")
        pd.DataFrame({"n": [1]}).to_csv(URL, storage_options={"store": fs.store.url})


def commit_in_a_handler(fs):
    file = fs.open(URL, "wb")
    lines = iter([b"whole"])
    try:
        while True:
            file.write(next(lines))
    except StopIteration:
        file.commit()


def file_within_a_destructor(fs):
    class Reporter:
        def __del__(self):
            file = fs.open(URL, "w")
            file.write("whole")
            file.close()

    Reporter()


def finalizer_that_is_called_by_hand(fs):
    class Writer:
        pass

    writer = Writer()
    file = fs.open(URL, "w")
    writer.close = weakref.finalize(writer, file.close)
    file.write("whole")
    writer.close()


def end_of_a_block_in_a_handler(fs):
    with fs.open(URL, "wb") as file:
        try:
            raise Boom
        except Boom:
            file.write(b"whole")


def codec(name):
    def write(fs):
        with fs.open(URL, "wb", compression=name) as file:
            file.write(b"whole")
        with fs.open(URL, compression=name) as file:
            assert file.read() == b"whole"

    return write


def duckdb_copy_that_succeeds(fs):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        connection.execute("copy (select 42 as n) to 'versioned://r@main/made'  (format parquet)")


def arrow_output(fs):
    with arrow(fs).open_output_stream("r@main/made") as stream:
        stream.write(b"whole")


@pytest.mark.parametrize(
    "succeed",
    [
        close_outside_of_any_exception,
        report_of_an_error,
        report_of_an_error_closed_by_hand,
        report_that_outlives_the_inner_error,
        report_with_fsspec,
        report_from_a_function,
        report_of_a_frame,
        commit_in_a_handler,
        end_of_a_block_in_a_handler,
        file_within_a_destructor,
        finalizer_that_is_called_by_hand,
        *(pytest.param(codec(name), id=name) for name in ("gzip", "bz2", "xz", "zip")),
        arrow_output,
        duckdb_copy_that_succeeds,
    ],
)
def test_a_writer_that_succeeds_publishes_once(succeed, store):
    store.create_repo("r")
    fs = VersionedFileSystem.of(store)
    if "memory" in store.url and "fsspec" in succeed.__code__.co_names:
        pytest.skip("a store in memory has no second instance")
    succeed(fs)
    gc.collect()
    assert len(list(store.log("r@main"))) == 1
    assert fs.find("r@main") == ["r@main/made"]


@pytest.mark.parametrize("kind", ["csv", "feather", "parquet"])
def test_a_dataset_of_pyarrow_is_written_for_it_closes_what_succeeded_alone(fs, kind):
    import pyarrow as pa
    import pyarrow.dataset as ds

    try:
        ds.write_dataset(pa.table({"n": range(1000)}), "r@main/dataset", format=kind, filesystem=arrow(fs))
        assert ds.dataset("r@main/dataset", format=kind, filesystem=arrow(fs)).count_rows() == 1000
    finally:
        fs.rm("r@main/dataset", recursive=True)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", ["made.csv", "made.json"])
@pytest.mark.parametrize("is_there", [False, True])
def test_what_native_code_closes_is_written_only_in_a_transaction(fs, name, threads, is_there):
    """DuckDB closes the file of a query that failed as one that succeeded."""
    duckdb = pytest.importorskip("duckdb")
    path = f"r@main/native/{threads}/{name}"
    if is_there:
        fs.pipe(path, b"before")
    before = fs.store.commit("r@main").id
    try:
        with duckdb.connect() as connection:
            connection.execute(f"set threads = {threads}")
            connection.register_filesystem(fs)
            copy = f"copy (select range as n from range(200000)) to 'versioned://{path}'"
            with pytest.raises(Exception, match=r"with fs\.transaction"):
                connection.execute(copy)
            assert fs.store.commit("r@main").id == before
            with fs.transaction:
                connection.execute(copy)
            assert connection.execute(f"select count(*) from 'versioned://{path}'").fetchone() == (200000,)
    finally:
        if fs.exists("r@main/native"):
            fs.rm("r@main/native", recursive=True)


def test_python_code_that_opens_and_closes_through_one_function_is_not_taken_for_native(fs):
    def call(function, *arguments):
        return function(*arguments)

    with ThreadPoolExecutor(1) as pool:
        for do in (
            call,
            lambda *work: pool.submit(*work).result(),
            lambda *work: asyncio.run(asyncio.to_thread(*work)),
        ):
            file = do(fs.open, URL, "wb")
            do(file.write, b"whole")
            do(file.close)
            assert fs.cat(URL) == b"whole"
            fs.rm(URL)
            do(do(fs.open, URL, "wb").close)
            assert fs.cat(URL) == b""
            fs.rm(URL)


def test_an_error_that_is_raised_again_from_further_in_is_a_failure(fs):
    def rewrite(error):
        file = fs.open(URL, "wb")
        try:
            file.write(b"half")
            raise error
        finally:
            file.close()

    def work():
        try:
            raise Boom
        except Boom as error:
            rewrite(error)

    with pytest.raises(Boom):
        work()
    assert not fs.exists(URL)


def test_the_error_and_the_log_say_that_nothing_was_written(fs, caplog):
    with pytest.raises(Boom) as caught:
        closed_in_finally("wb")(fs, {})
    assert caught.value.__notes__ == ["'r@main/made' was not written: it was closed while this exception was handled"]
    fs.open(URL, "wb").write(b"half")
    gc.collect()
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "'r@main/made' was not written: it was closed while Boom was handled",
        "'r@main/made' was not written: nobody closed it",
    ]


# Transactions


def test_a_transaction_holds_for_all_instances_of_the_store_in_its_thread(place):
    one, two = (VersionedFileSystem(place, skip_instance_cache=True) for _ in range(2))
    before = len(list(one.store.log("r@main")))
    try:
        with one.transaction:
            one.pipe("r@main/t/1", b"1")
            two.pipe("r@main/t/2", b"2")
            with two.open("r@main/t/3", "w") as file:
                file.write("3")
            VersionedFileSystem.of(one.store).cp("r@main/t/1", "r@main/t/4")
            two.mv("r@main/t/2", "r@main/t/5")
            with two.transaction:
                two.pipe("r@main/t/6", b"6")
            assert not two.exists("r@main/t")
        assert two.ls("r@main/t", detail=False) == [f"r@main/t/{number}" for number in (1, 3, 4, 5, 6)]
        assert len(list(one.store.log("r@main"))) == before + 1
        two.pipe("r@main/t/7", b"7")
        assert len(list(one.store.log("r@main"))) == before + 2
    finally:
        one.rm("r@main/t", recursive=True)
        one.store.close()
        two.store.close()


def test_a_transaction_holds_in_event_loops_and_threads_that_its_block_starts(store):
    """As zarr does: another instance, called in the thread of another event loop, which calls threads of its own."""
    store.create_repo("r")
    fs = VersionedFileSystem.of(store)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def write(number):
        await asyncio.to_thread(VersionedFileSystem.of(store).pipe_file, f"r@main/{number}", b"x")

    async def write_all():
        await asyncio.gather(*(write(number) for number in range(17)))

    try:
        with fs.transaction:
            asyncio.run_coroutine_threadsafe(write_all(), loop).result(60)
        with pytest.raises(Boom), fs.transaction:  # noqa: PT012 (a block is what is tested)
            asyncio.run_coroutine_threadsafe(write(17), loop).result(60)
            raise Boom
        asyncio.run_coroutine_threadsafe(write(18), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert [commit.stats.added for commit in store.log("r@main")] == [1, 17]
    assert not fs.exists("r@main/17")


def test_other_threads_with_other_instances_are_not_part_of_a_transaction(store):
    store.create_repo("r")
    fs = VersionedFileSystem.of(store)
    with fs.transaction:
        thread = threading.Thread(target=lambda: VersionedFileSystem.of(store).pipe("r@main/other", b"x"))
        thread.start()
        thread.join()
        assert fs.exists("r@main/other")
        fs.pipe("r@main/mine", b"x")
        assert not fs.exists("r@main/mine")
    assert fs.find("r@main") == ["r@main/mine", "r@main/other"]


@pytest.mark.parametrize("same", [True, False])
def test_when_a_transaction_inside_fails_the_one_around_it_commits_nothing(store, same):
    store.create_repo("r")
    fs = VersionedFileSystem.of(store)
    inner = fs if same else VersionedFileSystem.of(store)
    with pytest.raises(InvalidInputError, match="inside of this one failed"), fs.transaction:  # noqa: PT012 (a block is what is tested)
        fs.pipe("r@main/a", b"x")
        with contextlib.suppress(Boom), inner.transaction:
            inner.pipe("r@main/b", b"x")
            raise Boom
        fs.pipe("r@main/c", b"x")
    assert fs.find("r@main") == []
    fs.pipe("r@main/after", b"x")
    assert fs.find("r@main") == ["r@main/after"]


def test_a_file_of_another_instance_that_is_open_at_the_end_is_not_committed_by_halves(store):
    store.create_repo("r")
    fs = VersionedFileSystem.of(store)
    with pytest.raises(InvalidInputError, match="'r@main/a' is still open"), fs.transaction:  # noqa: PT012 (a block is what is tested)
        file = VersionedFileSystem.of(store).open("r@main/a", "wb")
        file.write(b"half")
    assert file.closed
    assert fs.find("r@main") == []
