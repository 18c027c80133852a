// The compiler: g++, which takes CUDA C for C++ where kernels.h gives its words a meaning.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include "emulator.h"

struct Program { std::string source, log, library; };

static std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// The source with what calls its kernels behind it.
static std::string callable(const std::string& source) {
    const std::regex kernel("extern \"C\"\\s+__global__\\s+void\\s+(\\w+)\\s*\\(");
    std::set<std::string> names;
    for (std::sregex_iterator found(source.begin(), source.end(), kernel), end; found != end; ++found)
        names.insert((*found)[1]);
    const bool barriers = source.find("__syncthreads") != std::string::npos;
    std::string text = (barriers ? "#define BARRIERS\n" : "") + ("#include \"kernels.h\"\n" + source) + "\n";
    for (const std::string& name : names) text += "EMULATED(" + name + ")\n";
    return text;
}

API int nvrtcCreateProgram(Program** made, const char* source, const char*, int, const char**, const char**) {
    *made = new Program{source, "", ""};
    return 0;
}

API int nvrtcCompileProgram(Program* program, int count, const char** options) {
    char folder[] = "/tmp/emulated-nvrtc-XXXXXX";
    if (!mkdtemp(folder)) return 1;
    const std::string place = folder, headers = getenv("EMULATOR_HEADERS") ? getenv("EMULATOR_HEADERS") : "";
    std::ofstream(place + "/kernels.cpp") << callable(program->source);
    std::string command = "g++ -w -O1 -shared -fPIC -std=c++17 -U_FORTIFY_SOURCE " + headers;
    for (int i = 0; i < count; ++i)  // those that g++ knows; they come from CuPy and from us
        if (!strncmp(options[i], "-I", 2) || !strncmp(options[i], "-D", 2)) command += " '" + std::string(options[i]) + "'";
    command += " " + place + "/kernels.cpp -o " + place + "/kernels.so 2> " + place + "/log";
    const int failed = system(command.c_str());
    program->log = contents(place + "/log");
    program->library = contents(place + "/kernels.so");
    for (const char* name : {"/kernels.cpp", "/kernels.so", "/log", ""}) remove((place + name).c_str());
    return failed ? 6 : 0;  // NVRTC_ERROR_COMPILATION
}

API int nvrtcDestroyProgram(Program** program) {
    delete *program;
    *program = nullptr;
    return 0;
}

API int nvrtcGetProgramLogSize(Program* program, size_t* size) { return *size = program->log.size() + 1, 0; }
API int nvrtcGetProgramLog(Program* program, char* to) { return strcpy(to, program->log.c_str()), 0; }
API int nvrtcGetCUBINSize(Program* program, size_t* size) { return *size = program->library.size(), 0; }

API int nvrtcGetCUBIN(Program* program, char* to) {
    memcpy(to, program->library.data(), program->library.size());
    return 0;
}

// CuPy compiles an empty program to PTX for the compiler's version, which is part of its cache's keys.
static const char PTX[] = "// the emulated GPU\n";
API int nvrtcGetPTXSize(Program*, size_t* size) { return *size = sizeof PTX, 0; }
API int nvrtcGetPTX(Program*, char* to) { return memcpy(to, PTX, sizeof PTX), 0; }

API const char* nvrtcGetErrorString(int) { return "NVRTC_ERROR_COMPILATION"; }
API int nvrtcVersion(int* major, int* minor) { return *major = CUDA_VERSION / 1000, *minor = CUDA_VERSION / 10 % 100, 0; }
API int nvrtcGetNumSupportedArchs(int* count) { return *count = 1, 0; }
API int nvrtcGetSupportedArchs(int* archs) { return *archs = 90, 0; }
API int nvrtcAddNameExpression(Program*, const char*) { return 0; }
API int nvrtcGetLoweredName(Program*, const char* name, const char** lowered) { return *lowered = name, 0; }
