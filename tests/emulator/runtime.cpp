// Memory, copies, and the facts of the device. Memory lies between pages that nobody may touch, and begins as NaN,
// unless it is large.

#include <string.h>
#include <sys/mman.h>
#include <stdio.h>
#include <map>
#include <memory>
#include "emulator.h"

const size_t PAGE = 4096, FILLED = 64 << 20;  // bytes: larger memory is not filled, to be quick
static const size_t TOTAL = setting("MEMORY", 64ull << 30);
static size_t used = 0;

struct Block { size_t size; Place place; };
static std::map<uintptr_t, Block> blocks;

Place place_of(const void* start, size_t size) {
    auto after = blocks.upper_bound((uintptr_t)start);
    if (after == blocks.begin()) return NOWHERE;
    const auto& [address, block] = *--after;
    return (uintptr_t)start + size <= address + block.size ? block.place : NOWHERE;
}

static Error allocate(void** made, size_t size, Place place) {
    ONE_AT_A_TIME;
    if (gone()) return fails(ILLEGAL_ADDRESS, "the GPU is gone");
    size = (size + PAGE - 1) / PAGE * PAGE + (size ? 0 : PAGE);
    if (place == ON_DEVICE && used + size > TOTAL) return fails(NO_MEMORY, "the device's memory is full");
    char* start = (char*)mmap(nullptr, size + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return fails(NO_MEMORY, "the host's memory is full");
    mprotect(start, PAGE, PROT_NONE);
    mprotect(start + PAGE + size, PAGE, PROT_NONE);
    if (size <= FILLED) memset(start + PAGE, 0xFF, size);
    *made = start + PAGE;
    blocks[(uintptr_t)*made] = {size, place};
    if (place == ON_DEVICE) used += size;
    return SUCCESS;
}

static Error release(void* start) {
    ONE_AT_A_TIME;
    if (!start) return SUCCESS;
    auto found = blocks.find((uintptr_t)start);
    if (found == blocks.end()) return fails(INVALID_VALUE, "memory is freed that was not allocated");
    finish_all();
    if (found->second.place == ON_DEVICE) used -= found->second.size;
    madvise(start, found->second.size, MADV_DONTNEED);
    mprotect(start, found->second.size, PROT_NONE);  // who still uses it ends the process
    blocks.erase(found);
    return SUCCESS;
}

API int cudaMalloc(void** made, size_t size) { return allocate(made, size, ON_DEVICE); }
API int cudaHostAlloc(void** made, size_t size, unsigned) { return allocate(made, size, ON_HOST); }
API int cudaFree(void* start) { return release(start); }
API int cudaFreeHost(void* start) { return release(start); }

API int cudaMemGetInfo(size_t* left, size_t* total) {
    *left = TOTAL - used;
    *total = TOTAL;
    return SUCCESS;
}

struct Attributes { int type, device; void *on_device, *on_host; };

API int cudaPointerGetAttributes(Attributes* attributes, const void* start) {
    ONE_AT_A_TIME;
    *attributes = {place_of(start, 1), 0, (void*)start, nullptr};  // unregistered, host, device
    return SUCCESS;
}

// -- Copies ----------------------------------------------------------------------------------------------

enum Kind { TO_DEVICE = 1, TO_HOST = 2, WITHIN_DEVICE = 3 };

// The host's memory may change as soon as a copy from it has been launched, unless it is page-locked: then the device
// reads it when it comes to the copy. A copy to memory that is not page-locked is waited for.
static Error copy(void* to, const void* from, size_t size, int kind, Stream* stream) {
    const Place there = place_of(to, size), here = place_of(from, size);
    if (!size) return SUCCESS;
    if ((kind != TO_HOST && there != ON_DEVICE) || (kind != TO_DEVICE && here != ON_DEVICE))
        return fails(INVALID_VALUE, "a copy leaves the device's memory");
    const bool paged = kind == TO_DEVICE ? here != ON_HOST : kind == TO_HOST && there != ON_HOST;
    if (paged && stream->capture)
        return spoils(stream->capture, CAPTURE_UNSUPPORTED, "a copy with pageable memory during a capture");
    if (kind == TO_DEVICE && paged) {
        auto kept = std::make_shared<std::vector<char>>((const char*)from, (const char*)from + size);
        return launch(stream, "copy", [=] { memcpy(to, kept->data(), size); });
    }
    const Error error = launch(stream, "copy", [=] { memmove(to, from, size); });
    if (!error && paged) finish(stream);
    return error;
}

API int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, void* handle) {
    ONE_AT_A_TIME;
    return copy(to, from, size, kind, stream_of(handle));
}

API int cudaMemcpy(void* to, const void* from, size_t size, int kind) {
    ONE_AT_A_TIME;
    const Error error = copy(to, from, size, kind, &default_stream);
    if (!error) finish(&default_stream);
    return error;
}

API int cudaMemsetAsync(void* start, int value, size_t size, void* handle) {
    ONE_AT_A_TIME;
    if (size && place_of(start, size) != ON_DEVICE) return fails(INVALID_VALUE, "a fill leaves the device's memory");
    return launch(stream_of(handle), "fill", [=] { memset(start, value, size); });
}

API int cudaMemset(void* start, int value, size_t size) { return cudaMemsetAsync(start, value, size, nullptr); }

// -- The device ------------------------------------------------------------------------------------------

const int PROCESSORS = 8;

struct Properties { char name[256], uuid[16], luid[8]; unsigned mask; size_t memory; };  // how cudaDeviceProp begins

API int cudaGetDeviceProperties_v2(Properties* properties, int) {
    strcpy(properties->name, "emulated GPU");
    properties->memory = TOTAL;
    return SUCCESS;
}

// Its name in CUDA 13, where less follows.
API int cudaGetDeviceProperties(Properties* properties, int device) {
    return cudaGetDeviceProperties_v2(properties, device);
}

API int cudaDeviceGetAttribute(int* value, int which, int) {
    switch (which) {
        case 1: *value = 1024; break;  // threads of a block
        case 10: *value = 32; break;  // of a warp
        case 16: *value = PROCESSORS; break;
        case 75: *value = 9; break;  // compute capability 9.0
        default: *value = 0;
    }
    return SUCCESS;
}

API int cudaDriverGetVersion(int* version) { return *version = CUDA_VERSION, SUCCESS; }
API int cudaRuntimeGetVersion(int* version) { return *version = CUDA_VERSION, SUCCESS; }
API int cudaGetDeviceCount(int* count) { return *count = 1, SUCCESS; }
API int cudaGetDevice(int* device) { return *device = 0, SUCCESS; }
API int cudaSetDevice(int device) { return device ? fails(INVALID_VALUE, "there is one device") : SUCCESS; }
API int cudaDeviceGetLimit(size_t* value, int) { return *value = 0, SUCCESS; }

API int cudaDeviceGetPCIBusId(char* text, int size, int) {
    snprintf(text, size, "0000:00:00.0");
    return SUCCESS;
}

API const char* cudaGetErrorString(int) { return "an error of the emulated GPU"; }

API const char* cudaGetErrorName(int error) {
    switch (error) {
        case SUCCESS: return "cudaSuccess";
        case NO_MEMORY: return "cudaErrorMemoryAllocation";
        case ILLEGAL_ADDRESS: return "cudaErrorIllegalAddress";
        case CAPTURE_UNSUPPORTED: return "cudaErrorStreamCaptureUnsupported";
        case CAPTURE_INVALIDATED: return "cudaErrorStreamCaptureInvalidated";
        case CAPTURE_UNJOINED: return "cudaErrorStreamCaptureUnjoined";
        default: return "cudaErrorUnknown";
    }
}
