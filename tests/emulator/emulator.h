// A GPU made of C++, which CuPy itself computes on: what its libraries share. docs/gpu.md tells why and how.
//
// runtime.cpp, streams.cpp, graphs.cpp, driver.cpp, nvrtc.cpp and cublas.cpp are those entry points of CUDA's libraries
// that CuPy calls, in one library. Types and numbers of the interface: NVIDIA, CUDA Runtime API, Driver API, NVRTC and
// cuBLAS, versions 12.9 and 13.0.

#pragma once
#include <stddef.h>
#include <stdint.h>
#include <functional>
#include <mutex>
#include <set>
#include <vector>

#ifndef CUDA_VERSION
#define CUDA_VERSION 12090  // 1000 for the major one, 10 for the minor one
#endif

#define API extern "C" __attribute__((visibility("default")))

// cudaError_t, and CUresult where both have them.
enum Error {
    SUCCESS = 0, INVALID_VALUE = 1, NO_MEMORY = 2, INVALID_IMAGE = 200, ILLEGAL_STATE = 401, NOT_FOUND = 500,
    NOT_READY = 600, ILLEGAL_ADDRESS = 700, NOT_SUPPORTED = 801, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901,
    CAPTURE_MERGE = 902, CAPTURE_UNMATCHED = 903, CAPTURE_UNJOINED = 904, CAPTURE_ISOLATION = 905,
    CAPTURE_IMPLICIT = 906, CAPTURED_EVENT = 907
};

using Work = std::function<void()>;

// An operation of a captured graph, and those that it waits for.
struct Node { Work work; std::vector<Node*> before; const char* kind; };
struct Graph { std::vector<Node*> nodes; };

struct Stream;
struct Capture {
    Stream* origin;
    Graph* graph;
    std::set<Stream*> members;
    bool spoilt = false, over = false;
};

// A place in a stream: after so many of its operations.
struct Mark { Stream* stream; uint64_t after; };

struct Stream {
    struct Operation { Work work; std::vector<Mark> waits; };
    bool blocking = true;  // it and the default stream wait for each other
    std::vector<Operation> queue;  // those not executed yet begin at `executed - dropped`
    uint64_t launched = 0, executed = 0, dropped = 0;
    std::vector<Mark> waits;  // of the next operation
    Capture* capture = nullptr;
    std::vector<Node*> last;  // captured so far: what the next operation waits for
};

extern std::recursive_mutex everything;
#define ONE_AT_A_TIME std::lock_guard<std::recursive_mutex> guard(everything)

extern Stream default_stream;
extern std::vector<Stream*> streams;  // the others
Stream* stream_of(void* handle);

// Put an operation at a stream's end; recorded, if it is being captured.
Error launch(Stream* stream, const char* kind, Work work);
void finish(Stream* stream);
void finish(Mark mark);
void finish_all();
Error implicit(Stream* stream, const char* why);  // spoils captures, if it is the default stream and they wait for it

Error fails(Error error, const char* why);  // the error; told, if the emulator is to tell
Error spoils(Capture* capture, Error error, const char* why);  // likewise, and the capture comes to nothing
bool gone();  // as EMULATOR_FAIL asks for: from then on nothing works
uint64_t setting(const char* name, uint64_t otherwise = 0);  // of the environment: EMULATOR_NAME
uint64_t any_number();  // the next of EMULATOR_ORDER

enum Place { NOWHERE, ON_HOST, ON_DEVICE };
Place place_of(const void* start, size_t size);  // of memory that lies in one allocation as a whole
