# SPDX-License-Identifier: Apache-2.0
"""Millrace from Python: publish and consume event streams through the memory of the local broker, without a compiler (ctypes on libmillrace).

    import millrace
    with millrace.attach() as client:
        client.create_topic("ticks", partitions=1, config={"millrace.durability": "leader"})
        with client.producer("ticks") as producer:
            producer.publish(b"hello", key=b"k", headers=[("source", b"example")])
            producer.flush()
        for record in client.consumer("ticks", start="start", timeout=1.0):
            print(record.offset, record.value)

A client, its producers and its consumers belong to the thread that attached: attach once in each thread. What a call of libmillrace answers with
an error is raised as millrace.Error, an OSError with its errno. The library is the first of $MILLRACE_LIBRARY, libmillrace.so.0 where the system
finds it, and the build directory this file is in the checkout of.
"""
import collections
import ctypes
import datetime
import errno
import json
import os
import time

__all__ = ["attach", "Client", "Producer", "Consumer", "Record", "Ack", "Error", "version"]

ANY = -1  # partition: by key, or round robin
ACKS = {"ring": 0, "leader": 1, "all": 3, "0": 0, "1": 1}
IDLE = {"adaptive": 0, "busy": 1, "sleep": 2}
STARTS = {"end": 0, "start": 1}
DURABILITY = {0: "ring", 1: "leader", 2: "quorum", 3: "disk"}
BATCH = 256  # records in one call of the library
PAUSE_S = 0.0002  # between two looks of a call that waits and must look itself

Record = collections.namedtuple("Record", "topic partition offset timestamp_ms key value headers")
Record.__doc__ = """What was consumed: bytes that are Python's own. key and value may be None; headers is a list of (name, bytes or None)."""
Ack = collections.namedtuple("Ack", "partition first_sequence count base_offset durability error")
Ack.__doc__ = """Records first_sequence to first_sequence + count - 1 of a partition were acknowledged; error is 0 or an errno."""


class Error(OSError):
    """A call of libmillrace failed: .errno says how, the text what to do about it."""


class _Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("text", ctypes.c_char * 512)]


class _ClientOptions(ctypes.Structure):
    _fields_ = [("size_bytes", ctypes.c_size_t), ("idle", ctypes.c_int), ("attach_timeout_ms", ctypes.c_int), ("reattach_timeout_ms", ctypes.c_int),
                ("name", ctypes.c_char_p)]


class _ProducerOptions(ctypes.Structure):
    _fields_ = [("size_bytes", ctypes.c_size_t), ("acks", ctypes.c_int), ("record_bytes_max", ctypes.c_uint32), ("ring_bytes", ctypes.c_uint32),
                ("idempotent", ctypes.c_int), ("first_sequence", ctypes.c_uint64)]


class _ConsumerOptions(ctypes.Structure):
    _fields_ = [("size_bytes", ctypes.c_size_t), ("start", ctypes.c_int), ("start_offset", ctypes.c_uint64),
                ("partitions", ctypes.POINTER(ctypes.c_int32)), ("partition_count", ctypes.c_uint32)]


class _Header(ctypes.Structure):
    _fields_ = [("key", ctypes.c_void_p), ("value", ctypes.c_void_p), ("key_bytes", ctypes.c_uint32), ("value_bytes", ctypes.c_uint32)]


class _Record(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("key", ctypes.c_void_p), ("value_bytes", ctypes.c_size_t), ("key_bytes", ctypes.c_size_t),
                ("timestamp_ms", ctypes.c_int64), ("partition", ctypes.c_int32), ("header_count", ctypes.c_uint32),
                ("headers", ctypes.POINTER(_Header)), ("offset", ctypes.c_uint64), ("internal", ctypes.c_void_p), ("internal_bytes", ctypes.c_size_t)]


class _Ack(ctypes.Structure):
    _fields_ = [("first_sequence", ctypes.c_uint64), ("count", ctypes.c_uint32), ("partition", ctypes.c_int32), ("base_offset", ctypes.c_int64),
                ("durability", ctypes.c_int), ("error", ctypes.c_int)]


class _Meta(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("timestamp_ms", ctypes.c_int64), ("partition", ctypes.c_int32), ("value_bytes", ctypes.c_uint32)]


# By their names in C, for whoever checks that these are laid out as those.
STRUCTURES = {"millrace_error": _Error, "millrace_client_options": _ClientOptions, "millrace_producer_options": _ProducerOptions,
              "millrace_consumer_options": _ConsumerOptions, "millrace_header": _Header, "millrace_record": _Record, "millrace_ack": _Ack,
              "millrace_meta": _Meta}

_library = None


def _load():
    global _library
    if _library is not None:
        return _library
    here = os.path.dirname(os.path.abspath(__file__))
    names = [os.environ["MILLRACE_LIBRARY"]] if os.environ.get("MILLRACE_LIBRARY") else [
        "libmillrace.so.0", os.path.join(here, "..", "..", "build", "shm", "client", "libmillrace.so.0")]
    why = []
    for name in names:
        try:
            library = ctypes.CDLL(name, use_errno=False)
            break
        except OSError as error:
            why.append(str(error))
    else:
        raise ImportError("libmillrace is not found: install it (meson install -C build), or name it in MILLRACE_LIBRARY; tried: " + "; ".join(why))
    pointer, text, error = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(_Error)
    handle = ctypes.POINTER(ctypes.c_void_p)
    calls = {
        "version": (text, []),
        "client_options_init": (None, [pointer]), "producer_options_init": (None, [pointer]), "consumer_options_init": (None, [pointer]),
        "attach": (ctypes.c_int, [handle, text, pointer, error]), "detach": (None, [pointer]),
        "topic_create": (ctypes.c_int, [pointer, text, ctypes.c_uint32, text, error]),
        "topic_list": (ctypes.c_int, [pointer, handle, error]),
        "producer_open": (ctypes.c_int, [handle, pointer, text, pointer, error]), "producer_close": (None, [pointer]),
        "producer_publish": (ctypes.c_int, [pointer, ctypes.POINTER(_Record), ctypes.c_uint32]),
        "producer_poll_acks": (ctypes.c_int, [pointer, ctypes.POINTER(_Ack), ctypes.c_uint32]),
        "producer_flush": (ctypes.c_int, [pointer, ctypes.c_int]),
        "producer_pending": (ctypes.c_uint64, [pointer]), "producer_partition_count": (ctypes.c_uint32, [pointer]),
        "consumer_open": (ctypes.c_int, [handle, pointer, text, pointer, error]), "consumer_close": (None, [pointer]),
        "consumer_poll": (ctypes.c_int, [pointer, ctypes.POINTER(_Record), ctypes.c_uint32, ctypes.c_int]),
        "consumer_copy": (ctypes.c_int, [pointer, pointer, ctypes.c_size_t, ctypes.POINTER(_Meta), ctypes.c_uint32]),
        "record_header": (ctypes.c_int, [ctypes.POINTER(_Record), ctypes.c_uint32, ctypes.POINTER(_Header)]),
        "consumer_seek_offset": (ctypes.c_int, [pointer, ctypes.c_int32, ctypes.c_uint64]),
        "consumer_seek_start": (ctypes.c_int, [pointer, ctypes.c_int32]), "consumer_seek_end": (ctypes.c_int, [pointer, ctypes.c_int32]),
        "consumer_seek_time": (ctypes.c_int, [pointer, ctypes.c_int32, ctypes.c_int64]),
        "consumer_position": (ctypes.c_int, [pointer, ctypes.c_int32] + [ctypes.POINTER(ctypes.c_uint64)] * 3),
        "consumer_partition_count": (ctypes.c_uint32, [pointer]),
    }
    for name, (result, arguments) in calls.items():
        call = getattr(library, "millrace_" + name)
        call.restype, call.argtypes = result, arguments
    _library = library
    return library


def _check(code, text=None):
    """What a call returned, unless that is an error."""
    if code < 0:
        raise Error(-code, text or os.strerror(-code))
    return code


def _with_text(call, *arguments):
    why = _Error()
    _check(call(*arguments, ctypes.byref(why)), why.text.decode("utf-8", "replace"))


def _options(structure, init, given, words=None):
    options = structure()
    init(ctypes.byref(options))
    known = {name for name, _ in structure._fields_} - {"size_bytes"}
    for name, value in given.items():
        if name not in known:
            raise TypeError("no option '%s': there are %s" % (name, ", ".join(sorted(known))))
        setattr(options, name, value)
    return options


def _word(words, value, what):
    if str(value) not in words:
        raise ValueError("%s=%r: it must be one of %s" % (what, value, ", ".join(sorted(words))))
    return words[str(value)]


def version():
    """The version of libmillrace."""
    return _load().millrace_version().decode()


def attach(socket=None, idle="adaptive", **options):
    """Attach to the broker on this host; waits for it as long as attach_timeout_ms says. @param socket None: $MILLRACE_SOCKET, or the default
    @param options attach_timeout_ms, reattach_timeout_ms, name: those of struct millrace_client_options"""
    return Client(socket, idle, options)


class _Closing:
    """Closed at the end of a with, or by close(); what is closed says so."""
    _handle = None
    _closer = None  # the library's call

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._handle:
            getattr(_library, self._closer)(self._handle)
        self._handle = None

    def _live(self):
        if not self._handle:
            raise ValueError("this %s is closed" % type(self).__name__.lower())
        return self._handle


class Client(_Closing):
    _closer = "millrace_detach"

    def __init__(self, socket, idle, options):
        library = _load()
        given = dict(options, idle=_word(IDLE, idle, "idle"))
        if isinstance(given.get("name"), str):
            given["name"] = given["name"].encode()
        handle = ctypes.c_void_p()
        _with_text(library.millrace_attach, ctypes.byref(handle), os.fsencode(socket) if socket else None,
                   ctypes.byref(_options(_ClientOptions, library.millrace_client_options_init, given)))
        self._handle, self._open = handle, []

    def close(self):
        """Detach: closes its producers and consumers."""
        for one in self._open:
            one._handle = None
        super().close()

    def create_topic(self, topic, partitions=0, config=None):
        """@param partitions 0: the broker's num.partitions @param config a dict"""
        lines = "\n".join("%s=%s" % item for item in (config or {}).items())
        _with_text(_library.millrace_topic_create, self._live(), topic.encode(), partitions, lines.encode())

    def topics(self):
        """A list of dicts: name, partitions, durability, ..."""
        text = ctypes.c_void_p()
        _with_text(_library.millrace_topic_list, self._live(), ctypes.byref(text))
        try:
            return json.loads(ctypes.string_at(text.value).decode())
        finally:
            _free(text)

    def producer(self, topic, acks="all", **options):
        """@param options record_bytes_max, ring_bytes, idempotent, first_sequence: those of struct millrace_producer_options"""
        return self._keep(Producer(self, topic, dict(options, acks=_word(ACKS, acks, "acks"))))

    def consumer(self, topic, start="end", partitions=None, timeout=None):
        """@param start "end", "start", an offset, or a datetime @param partitions None: all @param timeout seconds after which iteration ends; None: never"""
        return self._keep(Consumer(self, topic, start, partitions, timeout))

    def _keep(self, one):
        self._open = [other for other in self._open if other._handle] + [one]
        return one


def _free(pointer):
    libc = ctypes.CDLL(None)
    libc.free.argtypes, libc.free.restype = [ctypes.c_void_p], None
    libc.free(pointer)


class Producer(_Closing):
    """After close(), records that are not acknowledged may or may not be stored: flush() first."""
    _closer = "millrace_producer_close"

    def __init__(self, client, topic, options):
        handle = ctypes.c_void_p()
        _with_text(_library.millrace_producer_open, ctypes.byref(handle), client._live(), topic.encode(),
                   ctypes.byref(_options(_ProducerOptions, _library.millrace_producer_options_init, options)))
        self._handle, self._client = handle, client
        self._acks = (_Ack * BATCH)()
        self.failed = 0  # records of which an ack said that they were not stored
        self._taken = collections.deque()

    def publish(self, value, key=None, partition=ANY, headers=(), timestamp_ms=-1, timeout=30.0):
        """Copy a record in. @param value bytes, or None: a tombstone @param headers pairs of a name and bytes or None
        @param timeout seconds to wait for room in the ring. Raises Error: ETIMEDOUT then; EMSGSIZE; EINVAL; ENOTCONN"""
        kept = []  # what the record points to, until the call is over
        record = _Record(timestamp_ms=timestamp_ms, partition=partition)
        record.value, record.value_bytes = self._bytes(value, kept)
        record.key, record.key_bytes = self._bytes(key, kept)
        if headers:
            array = (_Header * len(headers))()
            for at, (name, content) in zip(array, headers):
                at.key, at.key_bytes = self._bytes(name.encode() if isinstance(name, str) else name, kept)
                at.value, at.value_bytes = self._bytes(content, kept)
            record.headers, record.header_count = array, len(headers)
        until = None
        while True:
            code = _library.millrace_producer_publish(self._live(), ctypes.byref(record), 1)
            if code == 1:
                return
            if code != -errno.EAGAIN:
                _check(code)
            self._take_acks()
            until = time.monotonic() + timeout if until is None else until
            if time.monotonic() > until:
                raise Error(errno.ETIMEDOUT, "no room in the ring for %g s: is the broker there?" % timeout)
            time.sleep(PAUSE_S)

    @staticmethod
    def _bytes(content, kept):
        if content is None:
            return None, 0
        content = bytes(content)
        kept.append(content)
        return ctypes.cast(content, ctypes.c_void_p), len(content)

    def _take_acks(self):
        count = _check(_library.millrace_producer_poll_acks(self._live(), self._acks, BATCH))
        for ack in self._acks[:count]:
            self.failed += ack.count if ack.error else 0
            self._taken.append(Ack(ack.partition, ack.first_sequence, ack.count, ack.base_offset, DURABILITY[ack.durability], -ack.error))
            if len(self._taken) > 65536:
                self._taken.popleft()  # of one who never asks
        return count

    def acks(self):
        """The acks that have come since the last call, the newest 65,536 of them. Does not wait."""
        while self._take_acks() == BATCH:
            pass
        taken, self._taken = list(self._taken), collections.deque()
        return taken

    def flush(self, timeout=30.0):
        """Wait until everything published is acknowledged. Raises Error: EIO if a record failed, which acks() names; ETIMEDOUT"""
        _check(_library.millrace_producer_flush(self._live(), int(timeout * 1000)))

    @property
    def pending(self):
        """Records published and not yet acknowledged."""
        return _library.millrace_producer_pending(self._live())

    @property
    def partition_count(self):
        return _library.millrace_producer_partition_count(self._live())



class Consumer(_Closing):
    """Iterate for one record after another, poll() for those that are there, read_array() for records of one size."""
    _closer = "millrace_consumer_close"

    def __init__(self, client, topic, start, partitions, timeout):
        at = "start" if isinstance(start, datetime.datetime) else start
        options = {"start": 2, "start_offset": at} if isinstance(at, int) else {"start": _word(STARTS, at, "start")}
        if partitions is not None:
            options["partitions"] = (ctypes.c_int32 * len(partitions))(*partitions)
            options["partition_count"] = len(partitions)
        handle = ctypes.c_void_p()
        _with_text(_library.millrace_consumer_open, ctypes.byref(handle), client._live(), topic.encode(),
                   ctypes.byref(_options(_ConsumerOptions, _library.millrace_consumer_options_init, options)))
        self._handle, self._client, self.topic, self.timeout = handle, client, topic, timeout
        self._records, self._waiting = (_Record * BATCH)(), collections.deque()
        if at != start:
            self.seek(start)

    def poll(self, max=BATCH, timeout=0.0):
        """A list of the next records, at most max. @param timeout seconds to wait for the first one; None: for ever (Ctrl-C is seen)"""
        if self._waiting:
            return [self._waiting.popleft() for _ in range(min(max, len(self._waiting)))]
        until = None if timeout is None else time.monotonic() + timeout
        while True:  # short waits, between which Python looks for signals
            left = 0.1 if until is None else until - time.monotonic()
            wait_ms = int(1000 * min(0.1, left)) if left > 0 else 0
            count = _check(_library.millrace_consumer_poll(self._live(), self._records, min(max, BATCH), wait_ms))
            if count > 0 or (until is not None and time.monotonic() >= until):
                return [self._own(record) for record in self._records[:count]]

    def _own(self, record):
        headers, header = [], _Header()
        for index in range(record.header_count):
            if _library.millrace_record_header(ctypes.byref(record), index, ctypes.byref(header)) != 0:
                break
            headers.append((ctypes.string_at(header.key, header.key_bytes).decode("utf-8", "replace"), self._copy(header.value, header.value_bytes)))
        return Record(self.topic, record.partition, record.offset, record.timestamp_ms, self._copy(record.key, record.key_bytes),
                      self._copy(record.value, record.value_bytes), headers)

    @staticmethod
    def _copy(pointer, size):
        return None if pointer is None else ctypes.string_at(pointer, size)

    def __iter__(self):
        return self

    def __next__(self):
        if not self._waiting:
            self._waiting.extend(self.poll(timeout=self.timeout))
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft()

    def read_array(self, dtype, max=65536, timeout=0.0):
        """Values of one size as a numpy array of this dtype (of numpy, where it is installed), copied out of the log once; empty after the timeout, in
        seconds. A record of another size raises Error EMSGSIZE, and stays: take it with poll(). Not after an iteration that stopped in between."""
        import numpy
        if self._waiting:
            raise ValueError("%d records were taken by an iteration and not given out: poll() them first" % len(self._waiting))
        values = numpy.empty(max, dtype)
        until = time.monotonic() + timeout
        while True:
            count = _library.millrace_consumer_copy(self._live(), values.ctypes.data, values.dtype.itemsize, None, max)
            _check(count, "the next record has not %d bytes" % values.dtype.itemsize if count == -errno.EMSGSIZE else None)
            if count > 0 or time.monotonic() >= until:
                return values[:count]
            time.sleep(PAUSE_S)

    def seek(self, offset, partition=-1):
        """@param offset a number, "start", "end", or a datetime: the first record that is not older @param partition -1: all that are read"""
        if isinstance(offset, datetime.datetime):
            code = _library.millrace_consumer_seek_time(self._live(), partition, int(offset.timestamp() * 1000))
        elif isinstance(offset, int):
            code = _library.millrace_consumer_seek_offset(self._live(), partition, offset)
        else:
            calls = {"start": _library.millrace_consumer_seek_start, "end": _library.millrace_consumer_seek_end}
            code = _word(calls, offset, "offset")(self._live(), partition)
        _check(code)
        self._waiting.clear()

    def position(self, partition):
        """(offset of the next record that the library gives, first that is still there, first that is not committed yet)"""
        numbers = [ctypes.c_uint64() for _ in range(3)]
        _check(_library.millrace_consumer_position(self._live(), partition, *[ctypes.byref(number) for number in numbers]))
        return tuple(number.value for number in numbers)

    @property
    def partition_count(self):
        return _library.millrace_consumer_partition_count(self._live())
