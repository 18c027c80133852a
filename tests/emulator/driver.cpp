// Modules and kernels: a module is a library that nvrtc.cpp has made with g++.

#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <memory>
#include <string>
#include "emulator.h"

static void* const CONTEXT = (void*)1;

API const char* cudaGetErrorName(int error);  // of runtime.cpp

API int cuGetErrorName(int error, const char** name) { return *name = cudaGetErrorName(error), SUCCESS; }
API int cuGetErrorString(int, const char** text) { return *text = "an error of the emulated GPU", SUCCESS; }
API int cuCtxGetCurrent(void** context) { return *context = CONTEXT, SUCCESS; }
API int cuCtxSetCurrent(void*) { return SUCCESS; }
API int cuCtxGetDevice(int* device) { return *device = 0, SUCCESS; }
API int cuStreamGetCtx(void*, void** context) { return *context = CONTEXT, SUCCESS; }

API int cuModuleLoadData(void** module, const void* image) {
    const Elf64_Ehdr* head = (const Elf64_Ehdr*)image;
    if (memcmp(head->e_ident, ELFMAG, SELFMAG)) return INVALID_IMAGE;
    const size_t size = head->e_shoff + (size_t)head->e_shnum * head->e_shentsize;
    char path[] = "/tmp/emulated-module-XXXXXX";
    const int file = mkstemp(path);
    const bool written = write(file, image, size) == (ssize_t)size;
    close(file);
    *module = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    unlink(path);
    return *module ? SUCCESS : INVALID_IMAGE;
}

API int cuModuleUnload(void*) { return SUCCESS; }  // launches may still wait

struct Kernel {
    std::string name;
    bool (*run)(const unsigned* shape, void** arguments);
    std::vector<size_t> sizes;  // of its parameters, in bytes
    unsigned* shared_used;  // set by a kernel whose shared memory is as large as the launch says
    int most_shared;
};

const int UNASKED = 48 << 10, MOST = 227 << 10;  // bytes of shared memory without asking for more, and of an H100
const int MAX_THREADS_PER_BLOCK = 0, MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;  // CUfunction_attribute

API int cuModuleGetFunction(void** found, void* module, const char* name) {
    ONE_AT_A_TIME;
    const std::string of = name;
    auto run = (bool (*)(const unsigned*, void**))dlsym(module, ("run_" + of).c_str());
    auto sizes = (int (*)(size_t*))dlsym(module, ("sizes_" + of).c_str());
    if (!run || !sizes) return NOT_FOUND;
    size_t each[64];
    const int count = sizes(each);
    *found = new Kernel{of, run, std::vector<size_t>(each, each + count), (unsigned*)dlsym(module, "shared_used"), UNASKED};
    return SUCCESS;
}

API int cuModuleGetGlobal_v2(void** start, size_t* size, void* module, const char* name) {
    *start = dlsym(module, name);
    *size = 0;
    return *start ? SUCCESS : NOT_FOUND;
}

API int cuFuncGetAttribute(int* value, int which, Kernel* kernel) {
    *value = which == MAX_THREADS_PER_BLOCK ? 1024 : which == MAX_DYNAMIC_SHARED_SIZE_BYTES ? kernel->most_shared : 0;
    return SUCCESS;
}

API int cuFuncSetAttribute(Kernel* kernel, int which, int value) {
    if (which != MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 || value > MOST) return INVALID_VALUE;
    return kernel->most_shared = value, SUCCESS;
}

API int cuLaunchKernel(Kernel* kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned x, unsigned y,
                       unsigned z, unsigned shared, void* handle, void** parameters, void**) {
    ONE_AT_A_TIME;
    const bool fits = grid_x && grid_y && grid_z && grid_x <= 2147483647u && grid_y <= 65535 && grid_z <= 65535;
    if (!fits || !x || !y || !z || (size_t)x * y * z > 1024 || z > 64 || shared > (unsigned)kernel->most_shared)
        return fails(INVALID_VALUE, kernel->name.c_str());
    auto values = std::make_shared<std::vector<std::vector<char>>>();
    for (size_t i = 0; i < kernel->sizes.size(); ++i)
        values->emplace_back((char*)parameters[i], (char*)parameters[i] + kernel->sizes[i]);
    return launch(stream_of(handle), "kernel", [=] {
        std::vector<void*> arguments;
        for (auto& value : *values) arguments.push_back(value.data());
        const unsigned shape[] = {grid_x, grid_y, grid_z, x, y, z};
        if (kernel->shared_used) *kernel->shared_used = 0;
        const char* wrong = nullptr;
        if (!kernel->run(shape, arguments.data())) wrong = "threads wait for others that do not come";
        else if (kernel->shared_used && *kernel->shared_used > shared) wrong = "it uses more shared memory than it has";
        if (!wrong) return;
        fprintf(stderr, "emulator: %s: %s\n", kernel->name.c_str(), wrong);
        abort();
    });
}
