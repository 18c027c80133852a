// Streams and events. Nothing is executed before somebody waits for it, unless thousands of operations are waiting: who
// forgot to wait gets another result.

#include <stdio.h>
#include <stdlib.h>
#include <chrono>
#include <random>
#include <string>
#include "emulator.h"

std::recursive_mutex everything;
Stream default_stream;
std::vector<Stream*> streams;

static const uint64_t ORDER = setting("ORDER"), ALONE = setting("ALONE");
static const uint64_t REFUSE = setting("REFUSE", UINT64_MAX), FAIL = setting("FAIL", UINT64_MAX);
static Error last_error = SUCCESS;
static std::mt19937_64 numbers(ORDER);
const uint64_t MOST_WAITING = 3000;  // operations of a stream; then some are executed

uint64_t setting(const char* name, uint64_t otherwise) {
    const char* value = getenv(("EMULATOR_" + std::string(name)).c_str());
    return value ? strtoull(value, nullptr, 10) : otherwise;
}

uint64_t any_number() { return numbers(); }

Error fails(Error error, const char* why) {
    if (setting("TELL")) fprintf(stderr, "emulator: error %d: %s\n", error, why);
    return last_error = error;
}

Error spoils(Capture* capture, Error error, const char* why) {
    capture->spoilt = true;
    return fails(error, why);
}

static uint64_t launches = 0;
bool gone() { return launches > FAIL; }

Stream* stream_of(void* handle) {  // 1 and 2 stand for the default stream, too
    return (uintptr_t)handle <= 2 ? &default_stream : (Stream*)handle;
}

void finish(Mark mark) {
    Stream* stream = mark.stream;
    while (stream->executed < mark.after) {
        Stream::Operation next = std::move(stream->queue[stream->executed - stream->dropped]);
        for (Mark other : next.waits) finish(other);
        next.work();
        ++stream->executed;
    }
    if (stream->executed == stream->launched) {
        stream->dropped = stream->executed;
        stream->queue.clear();
    }
}

void finish(Stream* stream) { finish(Mark{stream, stream->launched}); }

void finish_all() {
    finish(&default_stream);
    for (Stream* stream : streams) finish(stream);
}

Error implicit(Stream* stream, const char* why) {
    Error error = SUCCESS;
    if (stream == &default_stream)
        for (Stream* other : streams)
            if (other->capture && other->blocking) error = spoils(other->capture, CAPTURE_IMPLICIT, why);
    return error;
}

static Error record(Stream* stream, const char* kind, Work work) {
    Capture* capture = stream->capture;
    if (capture->spoilt) return fails(CAPTURE_INVALIDATED, "the capture has been spoilt before");
    if (capture->graph->nodes.size() >= REFUSE || (ALONE && stream != capture->origin))
        return spoils(capture, CAPTURE_UNSUPPORTED, "the capture is refused, as asked for");
    Node* node = new Node{std::move(work), stream->last, kind};
    capture->graph->nodes.push_back(node);
    stream->last = {node};
    return SUCCESS;
}

Error launch(Stream* stream, const char* kind, Work work) {
    ++launches;
    if (gone()) return fails(ILLEGAL_ADDRESS, "the GPU is gone");
    if (stream->capture) return record(stream, kind, std::move(work));
    if (Error error = implicit(stream, "the default stream would wait for one that is being captured")) return error;
    std::vector<Mark> waits = std::move(stream->waits);
    stream->waits.clear();
    if (stream == &default_stream) {
        for (Stream* other : streams)
            if (other->blocking) waits.push_back({other, other->launched});
    } else if (stream->blocking) {
        waits.push_back({&default_stream, default_stream.launched});
    }
    stream->queue.push_back({std::move(work), std::move(waits)});
    ++stream->launched;
    const uint64_t waiting = stream->launched - stream->executed;
    if (!ORDER) finish(stream);
    else if (waiting > MOST_WAITING) finish(Mark{stream, stream->executed + any_number() % MOST_WAITING});
    return SUCCESS;
}

// -- The interface ---------------------------------------------------------------------------------------

const unsigned NON_BLOCKING = 1;

API int cudaStreamCreateWithFlags(void** made, unsigned flags) {
    ONE_AT_A_TIME;
    Stream* stream = new Stream;
    stream->blocking = !(flags & NON_BLOCKING);
    streams.push_back(stream);
    *made = stream;
    return SUCCESS;
}

API int cudaStreamCreateWithPriority(void** made, unsigned flags, int) { return cudaStreamCreateWithFlags(made, flags); }
API int cudaStreamCreate(void** made) { return cudaStreamCreateWithFlags(made, 0); }

API int cudaStreamDestroy(void* handle) {  // the memory stays: marks may name it
    ONE_AT_A_TIME;
    Capture* capture = stream_of(handle)->capture;
    if (capture) return spoils(capture, CAPTURE_UNSUPPORTED, "a stream is destroyed while it is captured");
    finish(stream_of(handle));
    return SUCCESS;
}

// Why nobody can wait for this stream, if so.
static Error no_waiting(Stream* stream, const char* what) {
    if (gone()) return fails(ILLEGAL_ADDRESS, "the GPU is gone");
    return stream->capture ? spoils(stream->capture, CAPTURE_UNSUPPORTED, what) : implicit(stream, what);
}

API int cudaStreamSynchronize(void* handle) {
    ONE_AT_A_TIME;
    Stream* stream = stream_of(handle);
    if (Error error = no_waiting(stream, "somebody waits for a stream that is being captured")) return error;
    if (stream == &default_stream)
        for (Stream* other : streams)
            if (other->blocking) finish(other);
    finish(stream);
    for (Mark mark : stream->waits) finish(mark);
    return SUCCESS;
}

API int cudaStreamQuery(void* handle) {
    ONE_AT_A_TIME;
    Stream* stream = stream_of(handle);
    if (Error error = no_waiting(stream, "somebody asks how far a captured stream is")) return error;
    if (stream->executed < stream->launched) finish(Mark{stream, stream->executed + 1});  // who asks again sees the end
    bool ready = stream->executed == stream->launched;
    for (Mark mark : stream->waits) ready &= mark.stream->executed >= mark.after;
    return ready ? SUCCESS : NOT_READY;
}

API int cudaDeviceSynchronize() {
    ONE_AT_A_TIME;
    for (Stream* stream : streams)
        if (stream->capture) return no_waiting(stream, "somebody waits for the device during a capture");
    if (gone()) return fails(ILLEGAL_ADDRESS, "the GPU is gone");
    finish_all();
    return SUCCESS;
}

API int cudaLaunchHostFunc(void* handle, void (*call)(void*), void* data) {
    ONE_AT_A_TIME;
    return launch(stream_of(handle), "host", [=] { call(data); });
}

struct Event {
    Mark mark{nullptr, 0};
    Capture* capture = nullptr;  // to which the stream belonged
    std::vector<Node*> last;
    std::chrono::steady_clock::time_point recorded;
};

API int cudaEventCreateWithFlags(void** made, unsigned) {
    *made = new Event;
    return SUCCESS;
}

API int cudaEventCreate(void** made) { return cudaEventCreateWithFlags(made, 0); }

API int cudaEventDestroy(void* event) {
    ONE_AT_A_TIME;
    delete (Event*)event;
    return SUCCESS;
}

API int cudaEventRecord(void* handle, void* where) {
    ONE_AT_A_TIME;
    Event* event = (Event*)handle;
    Stream* stream = stream_of(where);
    event->capture = stream->capture;
    event->last = stream->last;
    if (stream->capture)
        return stream->capture->spoilt ? fails(CAPTURE_INVALIDATED, "an event of a spoilt capture") : SUCCESS;
    const Error error = launch(stream, "event", [] {});
    event->mark = {stream, stream->launched};
    event->recorded = std::chrono::steady_clock::now();
    return error;
}

API int cudaEventSynchronize(void* handle) {
    ONE_AT_A_TIME;
    Event* event = (Event*)handle;
    if (gone()) return fails(ILLEGAL_ADDRESS, "the GPU is gone");
    if (event->capture) return spoils(event->capture, CAPTURED_EVENT, "somebody waits for an event of a capture");
    if (event->mark.stream) finish(event->mark);
    return SUCCESS;
}

API int cudaEventQuery(void* handle) {
    ONE_AT_A_TIME;
    Event* event = (Event*)handle;
    if (event->capture) return spoils(event->capture, CAPTURED_EVENT, "somebody asks for an event of a capture");
    return !event->mark.stream || event->mark.stream->executed >= event->mark.after ? SUCCESS : NOT_READY;
}

API int cudaEventElapsedTime(float* milliseconds, void* from, void* to) {  // of the host: a GPU it is not
    using Span = std::chrono::duration<float, std::milli>;
    const float span = Span(((Event*)to)->recorded - ((Event*)from)->recorded).count();
    *milliseconds = span > 0 ? span : 1e-3f;
    return SUCCESS;
}

API int cudaStreamWaitEvent(void* handle, void* of, unsigned) {
    ONE_AT_A_TIME;
    Stream* stream = stream_of(handle);
    Event* event = (Event*)of;
    if (!event->capture) {
        if (!event->mark.stream) return SUCCESS;
        if (!stream->capture) return stream->waits.push_back(event->mark), SUCCESS;
        return spoils(stream->capture, CAPTURE_ISOLATION, "a captured stream waits for one that is not");
    }
    if (event->capture->over) return fails(CAPTURED_EVENT, "a stream waits for an event of a capture that is over");
    if (event->capture->spoilt) return fails(CAPTURE_INVALIDATED, "a stream waits for an event of a spoilt capture");
    if (stream == &default_stream)
        return spoils(event->capture, CAPTURE_IMPLICIT, "the default stream waits for a captured one");
    if (stream->capture && stream->capture != event->capture) {
        spoils(stream->capture, CAPTURE_MERGE, "two captures meet");
        return spoils(event->capture, CAPTURE_MERGE, "two captures meet");
    }
    stream->capture = event->capture;  // from here on it takes part
    event->capture->members.insert(stream);
    for (Node* node : event->last) stream->last.push_back(node);
    return SUCCESS;
}

API int cudaGetLastError() {
    const Error error = last_error;
    last_error = SUCCESS;
    return error;
}
