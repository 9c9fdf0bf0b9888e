/* A libnvidia-ml.so.1 with one board: the functions that compress calls, so that the real pynvml loads, converts its
   structs and maps its errors on a machine without a GPU. 150 W, a counter that moves every 20 ms; STUB_<NAME>=code
   makes a function return that code. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int result;
typedef void *device;
typedef struct { unsigned int field, scope; long long timestamp, latency; unsigned int type; result code; union { double d; unsigned int ui; unsigned long long ull; } value; } field_value;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int pid; unsigned long long bytes; unsigned int instance, compute; } process;

static int board;

static result told(const char *name) {
    const char *code = getenv(name);
    return code ? atoi(code) : 0;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

result nvmlInitWithFlags(unsigned int flags) { (void)flags; return told("STUB_INIT"); }
result nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(result code) { (void)code; return "stub error"; }

result nvmlSystemGetDriverVersion(char *text, unsigned int length) {
    strncpy(text, "580.00", length);
    return 0;
}

result nvmlDeviceGetHandleByUUID(const char *uuid, device *found) {
    if (strcmp(uuid, "GPU-stub") != 0) return 6;
    *found = &board;
    return 0;
}

result nvmlDeviceGetHandleByPciBusId_v2(const char *address, device *found) {
    if (strcmp(address, "00000000:3B:00.0") != 0) return 6;
    *found = &board;
    return 0;
}

result nvmlDeviceGetUUID(device d, char *text, unsigned int length) {
    (void)d;
    strncpy(text, "GPU-stub", length);
    return 0;
}

result nvmlDeviceGetName(device d, char *text, unsigned int length) {
    (void)d;
    strncpy(text, "Stub H200", length);
    return told("STUB_NAME");
}

result nvmlDeviceGetMigMode(device d, unsigned int *current, unsigned int *pending) {
    (void)d;
    *current = *pending = getenv("STUB_MIG_ON") ? 1 : 0;
    return told("STUB_MIG");
}

result nvmlDeviceGetMemoryInfo(device d, memory *info) {
    (void)d;
    info->total = 141ULL << 30;
    info->free = info->total;
    info->used = 0;
    return 0;
}

result nvmlDeviceGetTotalEnergyConsumption(device d, unsigned long long *mj) {
    (void)d;
    *mj = (unsigned long long)((long long)(seconds() / 0.02)) * 20 * 150;
    return told("STUB_ENERGY");
}

result nvmlDeviceGetPowerUsage(device d, unsigned int *mw) {
    (void)d;
    *mw = 150000;
    return 0;
}

result nvmlDeviceGetFieldValues(device d, int count, field_value *values) {
    (void)d;
    for (int i = 0; i < count; i++) {
        values[i].code = values[i].field == 186 ? told("STUB_INSTANT") : 3;
        values[i].type = 1;
        values[i].value.ui = 150000;
    }
    return 0;
}

result nvmlDeviceGetClockInfo(device d, unsigned int kind, unsigned int *mhz) {
    (void)d;
    *mhz = kind == 1 ? 1980 : 3201;
    return 0;
}

result nvmlDeviceGetTemperature(device d, unsigned int sensor, unsigned int *degrees) {
    (void)d, (void)sensor;
    *degrees = 41;
    return 0;
}

result nvmlDeviceGetCurrentClocksEventReasons(device d, unsigned long long *bits) {
    (void)d;
    *bits = 4;
    return 0;
}

result nvmlDeviceGetComputeRunningProcesses_v3(device d, unsigned int *count, process *found) {
    (void)d;
    if (found == NULL || *count < 2) {
        *count = 2;
        return 7; /* insufficient size */
    }
    *count = 2;
    found[0] = (process){11, 1, 0, 0};
    found[1] = (process){12, 1, 0, 0};
    return 0;
}

result nvmlDeviceGetGraphicsRunningProcesses_v3(device d, unsigned int *count, process *found) {
    (void)d, (void)found;
    *count = 0;
    return 0;
}
