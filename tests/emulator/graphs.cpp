// Captures and graphs. With EMULATOR_ORDER, the operations of a graph are executed in any order that its edges allow.

#include <stdio.h>
#include <stdlib.h>
#include <map>
#include <string>
#include "emulator.h"

API int cudaStreamBeginCapture(void* handle, int) {
    ONE_AT_A_TIME;
    Stream* stream = stream_of(handle);
    if (stream == &default_stream) return fails(CAPTURE_UNSUPPORTED, "the default stream cannot be captured");
    if (stream->capture) return fails(ILLEGAL_STATE, "it is being captured already");
    stream->capture = new Capture{stream, new Graph, {stream}};
    stream->last.clear();
    return SUCCESS;
}

API int cudaStreamIsCapturing(void* handle, int* status) {
    ONE_AT_A_TIME;
    Stream* stream = stream_of(handle);
    if (Error error = implicit(stream, "somebody asks whether the default stream is captured")) return error;
    *status = !stream->capture ? 0 : stream->capture->spoilt ? 2 : 1;  // none, invalidated, active
    return SUCCESS;
}

// All that these nodes wait for, themselves included.
static std::set<Node*> reached(std::vector<Node*> from) {
    std::set<Node*> found;
    while (!from.empty()) {
        Node* node = from.back();
        from.pop_back();
        if (found.insert(node).second) from.insert(from.end(), node->before.begin(), node->before.end());
    }
    return found;
}

static void tell(const Capture* capture) {
    std::map<std::string, int> kinds;
    for (Node* node : capture->graph->nodes) ++kinds[node->kind];
    fprintf(stderr, "emulator: captured %zu nodes", capture->graph->nodes.size());
    fprintf(stderr, " on %zu streams:", capture->members.size());
    for (auto& [kind, count] : kinds) fprintf(stderr, " %d %s", count, kind.c_str());
    fprintf(stderr, "\n");
}

API int cudaStreamEndCapture(void* handle, void** graph) {
    ONE_AT_A_TIME;
    *graph = nullptr;
    Stream* stream = stream_of(handle);
    Capture* capture = stream->capture;
    if (!capture) return fails(ILLEGAL_STATE, "no capture ends");
    if (capture->origin != stream) return fails(CAPTURE_UNMATCHED, "a capture ends on another stream than it began");
    const std::set<Node*> joined = reached(stream->last);
    bool unjoined = false;
    for (Stream* member : capture->members) {
        for (Node* node : member->last) unjoined |= !joined.count(node);
        member->capture = nullptr;
        member->last.clear();
    }
    capture->over = true;
    if (capture->spoilt) return fails(CAPTURE_INVALIDATED, "the capture has been spoilt before");
    if (unjoined) return fails(CAPTURE_UNJOINED, "nobody waits for work of another stream");
    if (setting("TELL")) tell(capture);
    *graph = capture->graph;
    return SUCCESS;
}

static const uint64_t SKIP = setting("SKIP"), ORDER = setting("ORDER");

static void replay(const Graph* graph) {
    if (SKIP) return;
    std::map<Node*, size_t> left;  // nodes that it still waits for
    std::map<Node*, std::vector<Node*>> after;
    std::vector<Node*> ready;
    for (Node* node : graph->nodes) {
        left[node] = node->before.size();
        for (Node* other : node->before) after[other].push_back(node);
        if (node->before.empty()) ready.push_back(node);
    }
    for (size_t count = 0; count < graph->nodes.size(); ++count) {
        if (ready.empty()) abort();  // a circle, which no capture makes
        const size_t which = ORDER ? any_number() % ready.size() : 0;
        Node* node = ready[which];
        ready.erase(ready.begin() + which);
        node->work();
        for (Node* other : after[node])
            if (!--left[other]) ready.push_back(other);
    }
}

API int cudaGraphInstantiate(void** made, void* graph, uint64_t) {
    *made = graph;
    return SUCCESS;
}

API int cudaGraphLaunch(void* graph, void* handle) {
    ONE_AT_A_TIME;
    return launch(stream_of(handle), "graph", [=] { replay((Graph*)graph); });
}

API int cudaGraphUpload(void*, void*) { return SUCCESS; }
API int cudaGraphDestroy(void*) { return SUCCESS; }
API int cudaGraphExecDestroy(void*) { return SUCCESS; }
