"""Results, one row each, durable before the next job starts.

The record itself is kept whole, compressed (raw samples included); the columns beside it are there
to be searched. Every statistic is computed from the record when it is read.
"""

from __future__ import annotations

import os
import re
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from bench.errors import StoreError, UsageError, unknown
from bench.paths import expanded
from bench.public import encode, result_id
from bench.records import SCHEMA, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Records that are fetched at once, still compressed.
_AT_ONCE = 16

_metadata = sa.MetaData()
_about = sa.Table(
    "about",
    _metadata,
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("value", sa.String(64), nullable=False),
)
_results = sa.Table(
    "results",
    _metadata,
    sa.Column("id", sa.String(12), primary_key=True),
    sa.Column("started_at", sa.String(32), nullable=False, index=True),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("model", sa.String(512), nullable=False, index=True),
    sa.Column("target", sa.String(128), nullable=False, index=True),
    sa.Column("hardware", sa.String(256), nullable=False, index=True),
    sa.Column("record", sa.LargeBinary, nullable=False),  # zlib of the JSON record
)
_baselines = sa.Table(
    "baselines",
    _metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("result", sa.String(12), primary_key=True),
)
_reported = sa.Table(
    "reported",  # change points that a gate has told of
    _metadata,
    sa.Column("series", sa.String(64), primary_key=True),
    sa.Column("result", sa.String(12), primary_key=True),
)


def default_url() -> str:
    """`BENCH_STORE`, or a SQLite file in the user's data directory."""
    import platformdirs

    return os.environ.get("BENCH_STORE") or str(platformdirs.user_data_path("bench") / "results.db")


def shown(where: str) -> str:
    """The name of a store as it may be printed: a URL without its password."""
    return re.sub("://[^/]*@", "://***@", where)


class Store:
    """Results in a database. `where` is an SQLAlchemy URL or the path of a SQLite file."""

    def __init__(self, where: str | None = None) -> None:
        where = where or default_url()
        try:
            if "://" in where:
                url = sa.make_url(where)
            else:  # a path is no URL: "?" and "%" are letters
                url = sa.URL.create("sqlite", database=str(expanded(where)))
            self.name = url.render_as_string(hide_password=True)
            if url.get_backend_name() == "sqlite":
                self.name = url.database or ":memory:"
                if url.database and not url.database.startswith(("file:", ":memory:")):
                    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(url)
        except (SQLAlchemyError, ImportError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(
                f"{shown(where)!r} is not a store that can be opened: {reason}"
            ) from error
        except OSError as error:
            raise StoreError(f"the store {where} cannot be made: {error}") from error
        with self._open() as connection:
            if not _metadata.tables.keys() <= set(sa.inspect(connection).get_table_names()):
                if url.get_backend_name() == "sqlite":  # two may find it empty at the same time
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                _metadata.create_all(connection)
            kept = connection.scalar(sa.select(_about.c.value).where(_about.c.key == "schema"))
            if kept is None:
                connection.execute(_about.insert().values(key="schema", value=str(SCHEMA)))
            elif not kept.isdigit() or int(kept) > SCHEMA:
                raise StoreError(
                    f"the store {self.name} has schema {kept}, and this version of bench reads up "
                    f"to {SCHEMA}: upgrade frontier-bench"
                )

    def require_writable(self) -> None:
        """Raise StoreError now, rather than after an hour of measuring."""
        # A row that is new: SQLite does not write a page that stays the same.
        probe = f"probe {uuid4().hex[:20]}"
        with self._open() as connection:
            connection.execute(_about.insert().values(key=probe, value=""))
        with self._open() as connection:
            connection.execute(_about.delete().where(_about.c.key == probe))

    def append(self, result: Result) -> str:
        """Add one result in a transaction of its own; its id. The same result twice is one row."""
        try:
            name, encoded = result_id(result), encode(result)
            decode(encoded)
        except ValueError as error:  # NaN, or a file name that is no Unicode
            raise StoreError(f"the result cannot be kept: {error}") from error
        row = {
            "id": name,
            "started_at": result.started_at,
            "status": "failed" if result.failure else "ok",
            "model": result.job.model,
            "target": result.job.target.name,
            "hardware": result.environment.hardware,
            "record": zlib.compress(encoded),
        }
        with self._open() as connection:
            if not self._has(connection, name):
                try:
                    # Without a savepoint some databases give up the whole transaction.
                    with connection.begin_nested():
                        connection.execute(_results.insert().values(row))
                except IntegrityError:  # another process was first with the same result
                    if not self._has(connection, name):
                        raise
        return name

    def read(
        self,
        *,
        models: Iterable[str] | None = None,
        file: str | None = None,
        targets: Iterable[str] | None = None,
        newest: int | None = None,
    ) -> list[Result]:
        """Results, oldest first; only those of models as they were asked for, or of a file of that
        name in whatever folder; only those of some targets, only the newest few."""
        return list(self.walk(file=file, models=models, targets=targets, newest=newest))

    def walk(
        self,
        *,
        models: Iterable[str] | None = None,
        file: str | None = None,
        targets: Iterable[str] | None = None,
        newest: int | None = None,
    ) -> Iterator[Result]:
        """As `read`, one after the other: each has all its samples, and a thousand of them would
        fill the memory of a small machine."""
        query = sa.select(_results.c.id).order_by(_results.c.started_at.desc(), _results.c.id)
        if file is not None:
            query = query.where(_results.c.model.endswith(file, autoescape=True))
        if models is not None:
            query = query.where(_results.c.model.in_([*models]))
        if targets is not None:
            query = query.where(_results.c.target.in_([*targets]))
        with self._open() as connection:
            ids = connection.scalars(query.limit(newest)).all()[::-1]
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            these = sa.select(_results.c.id, _results.c.record).where(_results.c.id.in_(some))
            with self._open() as connection:  # not held while others are at work
                records = {row.id: row.record for row in connection.execute(these)}
            for each in some:
                if (record := records.pop(each, None)) is not None:  # else removed meanwhile
                    yield self._decode(each, record)

    def targets(self) -> list[str]:
        """The names of all targets that there are results of."""
        with self._open() as connection:
            return [*connection.scalars(sa.select(_results.c.target).distinct().order_by("target"))]

    def models(self) -> list[str]:
        """The names, as they were asked for, of all models that there are results of."""
        with self._open() as connection:
            return [*connection.scalars(sa.select(_results.c.model).distinct().order_by("model"))]

    def remove(self, prefixes: Iterable[str]) -> list[str]:
        """Delete the results whose ids start so, all or none; their ids. Raises UsageError for what
        is not there, and for what a baseline is made of."""
        ids = list(dict.fromkeys(map(self._id, prefixes)))
        needed = sa.select(_baselines).where(_baselines.c.result.in_(ids))
        with self._open() as connection:
            if row := connection.execute(needed).first():
                raise UsageError(
                    f"result {row.result} belongs to baseline {row.name}: set that anew first, or "
                    f"`bench baseline remove {row.name}`"
                )
            connection.execute(_results.delete().where(_results.c.id.in_(ids)))
        return ids

    def get(self, prefix: str) -> Result:
        """The one result whose id starts with `prefix`. Raises UsageError when it is not one."""
        name = self._id(prefix)
        record = sa.select(_results.c.record).where(_results.c.id == name)
        with self._open() as connection:
            return self._decode(name, connection.execute(record).scalar_one())

    def _id(self, prefix: str) -> str:
        """The one id that starts with `prefix`, whatever the record of it is."""
        query = sa.select(_results.c.id).where(_results.c.id.startswith(prefix))
        with self._open() as connection:
            ids = connection.scalars(query.limit(2)).all()
        if not re.fullmatch("[0-9a-f]+", prefix):  # nothing at all is the start of each
            ids = []
        if not ids:
            raise UsageError(f"no result {prefix!r} in {self.name}: see `bench list results`")
        if len(ids) > 1:
            raise UsageError(f"{prefix!r} is the start of more than one id: give more digits")
        name: str = ids[0]
        return name

    def of_architecture(self, model: str) -> list[Result]:
        """Results of `source:name`, whatever tag of weights was asked for; oldest first."""
        column = _results.c.model
        query = (
            sa.select(_results.c.id, _results.c.record)
            .where((column == model) | column.startswith(f"{model}.", autoescape=True))
            .order_by(_results.c.started_at, _results.c.id)
        )
        with self._open() as connection:
            rows = connection.execute(query).all()
        return [self._decode(row.id, row.record) for row in rows]

    def set_baseline(self, name: str, ids: Iterable[str]) -> None:
        """Make `name` mean these results, and no others; none removes it."""
        rows = [{"name": name, "result": each} for each in dict.fromkeys(ids)]
        with self._open() as connection:
            connection.execute(_baselines.delete().where(_baselines.c.name == name))
            if rows:
                connection.execute(_baselines.insert(), rows)

    def baseline(self, name: str) -> list[Result]:
        """The results that `name` means. Raises UsageError for a name that was never set."""
        if name not in (known := self.baselines()):
            raise unknown("baseline", name, known, "bench baseline list")
        query = sa.select(_baselines.c.result).where(_baselines.c.name == name)
        with self._open() as connection:
            ids = connection.scalars(query).all()
        return [self.get(each) for each in ids]

    def baselines(self) -> dict[str, int]:
        """Every baseline, and how many results it has."""
        counted = sa.select(_baselines.c.name, sa.func.count().label("n")).group_by(
            _baselines.c.name
        )
        with self._open() as connection:
            return {row.name: row.n for row in connection.execute(counted.order_by("name"))}

    def report_once(self, series: str, result: str) -> bool:
        """Remember that the change of a series at a result has been told; whether this is the
        first time, for two gates may find it in the same moment."""
        told = (_reported.c.series == series) & (_reported.c.result == result)
        with self._open() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(_reported.insert().values(series=series, result=result))
            except IntegrityError:
                if connection.scalar(sa.select(_reported.c.result).where(told)) is None:
                    raise
                return False
        return True

    def reported(self, series: str) -> set[str]:
        """The results at which changes of a series have been told."""
        query = sa.select(_reported.c.result).where(_reported.c.series == series)
        with self._open() as connection:
            return set(connection.scalars(query).all())

    def __contains__(self, name: str) -> bool:
        with self._open() as connection:
            return self._has(connection, name)

    @staticmethod
    def _has(connection: sa.Connection, name: str) -> bool:
        return connection.scalar(sa.select(_results.c.id).where(_results.c.id == name)) is not None

    def _decode(self, name: str, blob: bytes) -> Result:
        try:
            return decode(zlib.decompress(blob))
        except (zlib.error, TypeError, ValueError) as error:
            raise StoreError(f"result {name} in {self.name} cannot be read: {error}") from error

    @contextmanager
    def _open(self) -> Iterator[sa.Connection]:
        """A transaction whose errors are one sentence."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise StoreError(f"the store {self.name} cannot be used: {reason}") from error


def decode(encoded: bytes | Any) -> Result:
    """A record from its JSON (bytes) or from parsed JSON. Raises ValueError with one sentence."""
    try:
        if isinstance(encoded, bytes):
            result = msgspec.json.decode(encoded, type=Result)
        else:
            result = msgspec.convert(encoded, Result)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    if result.schema > SCHEMA:
        raise ValueError(
            f"it has schema {result.schema}, and this version of bench reads up to {SCHEMA}"
        )
    return result
