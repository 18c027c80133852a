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

bool blocking_stream_is_captured() {
    for (Stream* stream : streams)
        if (stream->capture && stream->blocking) return true;
    return false;
}

static Error record(Stream* stream, const char* kind, Work work) {
    Capture* capture = stream->capture;
    if (capture->graph->nodes.size() >= REFUSE || (ALONE && stream != capture->origin)) capture->spoilt = true;
    if (capture->spoilt) return fails(CAPTURE_INVALIDATED, "the capture has been refused");
    Node* node = new Node{std::move(work), stream->last, kind};
    capture->graph->nodes.push_back(node);
    stream->last = {node};
    return SUCCESS;
}

Error launch(Stream* stream, const char* kind, Work work) {
    static uint64_t launches = 0;
    if (++launches > FAIL) return fails(ILLEGAL_ADDRESS, "as EMULATOR_FAIL asks for");
    if (stream->capture) return record(stream, kind, std::move(work));
    if (stream == &default_stream && blocking_stream_is_captured())
        return fails(CAPTURE_IMPLICIT, "the default stream would wait for one that is being captured");
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
    if (stream_of(handle)->capture) return fails(CAPTURE_UNSUPPORTED, "a stream is destroyed while it is captured");
    finish(stream_of(handle));
    return SUCCESS;
}

static Error refuse_in_a_capture(Stream* stream, const char* what) {
    if (stream->capture) {
        stream->capture->spoilt = true;
        return fails(CAPTURE_UNSUPPORTED, what);
    }
    if (stream == &default_stream && blocking_stream_is_captured()) return fails(CAPTURE_IMPLICIT, what);
    return SUCCESS;
}

API int cudaStreamSynchronize(void* handle) {
    ONE_AT_A_TIME;
    Stream* stream = stream_of(handle);
    if (Error error = refuse_in_a_capture(stream, "somebody waits for a stream that is being captured")) return error;
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
    if (Error error = refuse_in_a_capture(stream, "somebody asks how far a captured stream is")) return error;
    return stream->executed == stream->launched ? SUCCESS : NOT_READY;
}

API int cudaDeviceSynchronize() {
    ONE_AT_A_TIME;
    for (Stream* stream : streams)
        if (stream->capture) return refuse_in_a_capture(stream, "somebody waits for the device during a capture");
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
    if (stream->capture) return SUCCESS;
    const Error error = launch(stream, "event", [] {});
    event->mark = {stream, stream->launched};
    event->recorded = std::chrono::steady_clock::now();
    return error;
}

API int cudaEventSynchronize(void* handle) {
    ONE_AT_A_TIME;
    Event* event = (Event*)handle;
    if (event->capture) return fails(CAPTURED_EVENT, "somebody waits for an event of a capture");
    if (event->mark.stream) finish(event->mark);
    return SUCCESS;
}

API int cudaEventQuery(void* handle) {
    ONE_AT_A_TIME;
    Event* event = (Event*)handle;
    if (event->capture) return fails(CAPTURED_EVENT, "somebody asks for an event of a capture");
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
        stream->capture->spoilt = true;
        return fails(CAPTURE_ISOLATION, "a captured stream waits for one that is not");
    }
    if (event->capture->over) return fails(CAPTURED_EVENT, "a stream waits for an event of a capture that is over");
    if (stream == &default_stream) return fails(CAPTURE_IMPLICIT, "the default stream waits for a captured one");
    if (stream->capture && stream->capture != event->capture) return fails(CAPTURE_MERGE, "two captures meet");
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
