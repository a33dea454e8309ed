/* A stand-in for libnvidia-ml.so.1 on machines without a GPU.
 *
 * What it answers is in the text file that FAKE_NVML names. It is read again whenever it has
 * changed, so that a test can change the machine while it runs. One item a line, a GPU's lines after
 * the line of the GPU or instance they are about:
 *
 *     gpu UUID mig|whole|nomig NAME...     "nomig": a model that has no MIG mode
 *     mig UUID PROFILE [unnamed] [life=N]  an instance on the GPU above; "unnamed": its NVML name
 *                                          does not say the profile; another life: made anew
 *     util steady PERCENT                  how busy the device above is, as a function of
 *     util burst PERCENT ON_MS PERIOD_MS     CLOCK_BOOTTIME, so that what is true is known
 *     util random SEED SLOT_MS
 *     buffer PERIOD_MS COUNT               its buffer of samples of that; a count of 0: it has none
 *     process PID BYTES [FROM TO]          a compute process on it, between moments of
 *                                          CLOCK_BOOTTIME in milliseconds
 *     energy START_MJ MILLIWATT            its counter: START + power x CLOCK_BOOTTIME
 *     gpm                                  the GPU above can tell its instances' utilisation
 *     noevents                             the GPU above cannot tell that instances have changed
 *     fault FUNCTION CODE [UUID]           FUNCTION answers CODE (for that device only)
 *     hang FUNCTION SECONDS [UUID]         FUNCTION takes that long
 *     slow FUNCTION MICROSECONDS [UUID]    the same, shorter; FUNCTION may be * for all
 *     driver N                             another N: the driver was loaded anew, and has to be
 *                                          initialised again
 *
 * FAKE_NVML_CALLS names a file that is mapped and counts calls: 64 bytes a function, its name in
 * the first 56, the count in the last 8. A function that is not here is reported by the client as
 * FunctionNotFound; nothing is made up.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SUCCESS 0
#define ERROR_UNINITIALIZED 1
#define ERROR_INVALID_ARGUMENT 2
#define ERROR_NOT_SUPPORTED 3
#define ERROR_NOT_FOUND 6
#define ERROR_INSUFFICIENT_SIZE 7
#define ERROR_DRIVER_NOT_LOADED 9
#define ERROR_TIMEOUT 10

#define EVENT_MIG_CONFIG_CHANGE 0x100ULL
#define NOT_AVAILABLE 0xFFFFFFFFu

enum { WHOLE, MIG, NO_MIG };
enum { STEADY, BURST, RANDOM };
enum { MAX_GPUS = 64, MAX_INSTANCES = 7, MAX_RULES = 64, MAX_PROCESSES = 8, MAX_COUNTERS = 128 };
enum { REFRESH_MS = 20 };

struct load {
    int kind, percent;
    uint64_t seed;
    long long on_ms, period_ms;
};

struct process {
    unsigned pid;
    unsigned long long bytes;
    long long from, to;
};

/* A GPU, or one of its instances: what a handle points to. Places are kept when the script
 * changes, so that an old handle finds what is there now, as with the real library. */
struct device {
    int present, instance, index, unnamed, life, process_count, mode, gpm, silent, energy_known;
    struct device *parent;
    char uuid[96], name[96], profile[32];
    struct load load;
    int sample_ms, sample_count;
    struct process processes[MAX_PROCESSES];
    long long energy_start, milliwatt;
};

struct rule {
    char function[64], uuid[96];
    int code;
    long long microseconds;
};

struct attributes {
    unsigned multiprocessors, copy_engines, decoders, encoders, jpeg, ofa;
    unsigned gpu_slices, compute_slices;
    unsigned long long memory_mb;
};

struct sample {
    unsigned long long stamp;
    union {
        unsigned value;
        double widest;
    };
};

struct process_info {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu_instance, compute_instance;
};

struct process_use {
    unsigned pid;
    unsigned long long stamp;
    unsigned gpu, memory, encoder, decoder;
};

struct event_set {
    struct device *gpu;
    int seen;
};

struct event {
    struct device *gpu;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
};

struct gpm_sample {
    struct device *device;
    long long at;
};

struct gpm_metric {
    unsigned id;
    int code;
    double value;
    const char *names[3];
};

struct gpm_get {
    unsigned version, count;
    struct gpm_sample *first, *second;
    struct gpm_metric metrics[];
};

struct counter {
    char name[56];
    uint64_t count;
};

static struct device gpus[MAX_GPUS];
static struct device instances[MAX_GPUS][MAX_INSTANCES];
/* How often the instances of a GPU have changed. */
static int changes[MAX_GPUS];
static struct rule rules[MAX_RULES];
static int gpu_count, rule_count, initialised, driver, driver_at_init;
static long long checked_ms;
static struct stat script;
static struct counter *counters;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long long microseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static long long boottime(void) { return microseconds(CLOCK_BOOTTIME) / 1000; }

static uint64_t mixed(uint64_t x)
{
    x += 0x9E3779B97F4A7C15ULL;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

/* Percent times milliseconds between two moments. */
static long long busy(const struct load *load, long long from, long long to)
{
    long long sum = 0;
    if (load->kind == STEADY)
        return load->percent * (to - from);
    while (from < to) {
        long long slot = from / load->period_ms, begin = slot * load->period_ms;
        long long end = begin + load->period_ms;
        if (load->kind == BURST && from < begin + load->on_ms)
            end = begin + load->on_ms;
        if (end > to)
            end = to;
        if (load->kind == RANDOM)
            sum += (long long)(mixed(load->seed ^ (uint64_t)slot) % 101) * (end - from);
        else if (from < begin + load->on_ms)
            sum += load->percent * (end - from);
        from = end;
    }
    return sum;
}

static void renew(struct device *device, int instance, struct device *parent, int index)
{
    memset(device, 0, sizeof *device);
    device->present = 1;
    device->instance = instance;
    device->parent = parent;
    device->index = index;
    device->sample_ms = 167;
    device->sample_count = 120;
    device->load.period_ms = 1;
}

static void read_rule(const char *line)
{
    struct rule *rule = &rules[rule_count];
    long long number;
    memset(rule, 0, sizeof *rule);
    if (sscanf(line, "fault %63s %d %95s", rule->function, &rule->code, rule->uuid) >= 2) {
        rule_count++;
    } else if (sscanf(line, "hang %63s %lld %95s", rule->function, &number, rule->uuid) >= 2) {
        rule->microseconds = number * 1000000;
        rule_count++;
    } else if (sscanf(line, "slow %63s %lld %95s", rule->function, &number, rule->uuid) >= 2) {
        rule->microseconds = number;
        rule_count++;
    }
}

static void read_item(struct device *device, const char *line)
{
    struct load *load = &device->load;
    struct process process = {.from = 0, .to = INT64_MAX};
    if (sscanf(line, "util steady %d", &load->percent) == 1)
        load->kind = STEADY;
    else if (sscanf(line, "util burst %d %lld %lld", &load->percent, &load->on_ms,
                    &load->period_ms) == 3)
        load->kind = BURST;
    else if (sscanf(line, "util random %lu %lld", &load->seed, &load->period_ms) == 2)
        load->kind = RANDOM;
    else if (sscanf(line, "buffer %d %d", &device->sample_ms, &device->sample_count) == 2)
        ;
    else if (sscanf(line, "energy %lld %lld", &device->energy_start, &device->milliwatt) == 2)
        device->energy_known = 1;
    else if (sscanf(line, "process %u %llu %lld %lld", &process.pid, &process.bytes,
                    &process.from, &process.to) >= 2
             && device->process_count < MAX_PROCESSES)
        device->processes[device->process_count++] = process;
    else if (!strncmp(line, "gpm", 3))
        device->gpm = 1;
    else if (!strncmp(line, "noevents", 8))
        device->silent = 1;
}

/* A sum over what the instances of a GPU are: another one when they change. */
static uint64_t layout(int gpu)
{
    uint64_t sum = 0;
    for (int i = 0; i < MAX_INSTANCES; i++) {
        const struct device *one = &instances[gpu][i];
        if (!one->present)
            continue;
        sum = mixed(sum ^ (uint64_t)one->life);
        for (const char *c = one->uuid; *c; c++)
            sum = mixed(sum ^ (uint64_t)*c);
    }
    return sum;
}

static int read_script(void)
{
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512], mode[16], text[96], name[96], profile[32];
    uint64_t before[MAX_GPUS];
    struct device *last = NULL;
    int at = -1, used = 0;

    if (!file)
        return ERROR_DRIVER_NOT_LOADED;
    fstat(fileno(file), &script);
    for (int i = 0; i < MAX_GPUS; i++) {
        before[i] = layout(i);
        gpus[i].present = 0;
        for (int k = 0; k < MAX_INSTANCES; k++)
            instances[i][k].present = 0;
    }
    gpu_count = rule_count = 0;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "gpu %95s %15s %95[^\n]", text, mode, name) == 3) {
            if (gpu_count == MAX_GPUS)
                break;
            at = gpu_count++;
            used = 0;
            last = &gpus[at];
            renew(last, 0, last, at);
            strcpy(last->uuid, text);
            strcpy(last->name, name);
            last->mode = !strcmp(mode, "mig") ? MIG : !strcmp(mode, "nomig") ? NO_MIG : WHOLE;
        } else if (at >= 0 && used < MAX_INSTANCES
                   && sscanf(line, "mig %95s %31s", text, profile) == 2) {
            const char *life = strstr(line, "life=");
            last = &instances[at][used];
            renew(last, 1, &gpus[at], used++);
            strcpy(last->uuid, text);
            strcpy(last->profile, profile);
            last->unnamed = strstr(line, " unnamed") != NULL;
            last->life = life ? atoi(life + 5) : 0;
        } else if (sscanf(line, "driver %d", &driver) == 1) {
            continue;
        } else if (rule_count < MAX_RULES
                   && (!strncmp(line, "fault", 5) || !strncmp(line, "hang", 4)
                       || !strncmp(line, "slow", 4))) {
            read_rule(line);
        } else if (last) {
            read_item(last, line);
        }
    }
    fclose(file);
    for (int i = 0; i < MAX_GPUS; i++)
        changes[i] += layout(i) != before[i];
    return SUCCESS;
}

/* Read the script again where it has changed; a look at the file every so often is enough. */
static void refresh(void)
{
    const char *path = getenv("FAKE_NVML");
    long long now = microseconds(CLOCK_MONOTONIC_COARSE) / 1000;
    struct stat there;
    if (now - checked_ms < REFRESH_MS)
        return;
    checked_ms = now;
    if (path && !stat(path, &there)
        && (there.st_ino != script.st_ino || there.st_mtim.tv_sec != script.st_mtim.tv_sec
            || there.st_mtim.tv_nsec != script.st_mtim.tv_nsec))
        read_script();
}

static void count(const char *function)
{
    static int opened;
    const char *path = getenv("FAKE_NVML_CALLS");
    if (!opened) {
        int file = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
        opened = 1;
        if (file >= 0 && !ftruncate(file, MAX_COUNTERS * sizeof *counters)) {
            void *map = mmap(NULL, MAX_COUNTERS * sizeof *counters, PROT_READ | PROT_WRITE,
                             MAP_SHARED, file, 0);
            counters = map == MAP_FAILED ? NULL : map;
        }
    }
    for (int i = 0; counters && i < MAX_COUNTERS; i++) {
        if (!counters[i].name[0])
            strncpy(counters[i].name, function, sizeof counters[i].name - 1);
        if (!strcmp(counters[i].name, function)) {
            counters[i].count++;
            return;
        }
    }
}

/* What the script says that this function should do before it answers. */
static int obey(const char *function, const struct device *device)
{
    long long pause = 0;
    int code = SUCCESS;
    pthread_mutex_lock(&lock);
    count(function);
    refresh();
    for (int i = 0; i < rule_count && code == SUCCESS; i++) {
        if (strcmp(rules[i].function, "*") && strcmp(rules[i].function, function))
            continue;
        if (rules[i].uuid[0] && (!device || strcmp(rules[i].uuid, device->uuid)))
            continue;
        pause += rules[i].microseconds;
        code = rules[i].code;
    }
    if (code == SUCCESS && !initialised)
        code = ERROR_UNINITIALIZED;
    else if (code == SUCCESS && driver != driver_at_init)
        code = ERROR_DRIVER_NOT_LOADED;
    else if (code == SUCCESS && device && !device->present)
        code = ERROR_INVALID_ARGUMENT;
    pthread_mutex_unlock(&lock);
    if (pause >= 1000000)
        sleep(pause / 1000000);
    if (pause % 1000000)
        usleep(pause % 1000000);
    return code;
}

#define OBEY(device)                                                                              \
    do {                                                                                          \
        int code_ = obey(__func__, device);                                                       \
        if (code_ != SUCCESS)                                                                     \
            return code_;                                                                         \
    } while (0)

static int copy(char *buffer, unsigned length, const char *text)
{
    if (strlen(text) >= length)
        return ERROR_INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return SUCCESS;
}

static int has_utilisation(const struct device *device)
{
    return !device->instance && device->mode != MIG;
}

int nvmlInitWithFlags(unsigned flags)
{
    int code;
    (void)flags;
    pthread_mutex_lock(&lock);
    code = read_script();
    if (code == SUCCESS) {
        initialised++;
        driver_at_init = driver;
    }
    pthread_mutex_unlock(&lock);
    if (code != SUCCESS)
        return code;
    code = obey("nvmlInitWithFlags", NULL);
    if (code != SUCCESS) {
        pthread_mutex_lock(&lock);
        initialised--;
        pthread_mutex_unlock(&lock);
    }
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    int code = ERROR_UNINITIALIZED;
    pthread_mutex_lock(&lock);
    if (initialised) {
        initialised--;
        code = SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

const char *nvmlErrorString(int code)
{
    (void)code;
    return "an error of the fake NVML";
}

int nvmlSystemGetDriverVersion(char *text, unsigned length)
{
    OBEY(NULL);
    return copy(text, length, "580.00.00");
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    OBEY(NULL);
    *version = 13000;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count_of)
{
    int code;
    pthread_mutex_lock(&lock);
    code = read_script();
    pthread_mutex_unlock(&lock);
    if (code != SUCCESS)
        return code;
    OBEY(NULL);
    *count_of = (unsigned)gpu_count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **handle)
{
    if (index >= MAX_GPUS)
        return ERROR_INVALID_ARGUMENT;
    OBEY(&gpus[index]);
    *handle = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct device **handle)
{
    OBEY(NULL);
    for (int i = 0; i < gpu_count; i++) {
        if (!strcmp(gpus[i].uuid, uuid)) {
            *handle = &gpus[i];
            return SUCCESS;
        }
        for (int k = 0; k < MAX_INSTANCES; k++) {
            if (instances[i][k].present && !strcmp(instances[i][k].uuid, uuid)) {
                *handle = &instances[i][k];
                return SUCCESS;
            }
        }
    }
    return ERROR_NOT_FOUND;
}

int nvmlDeviceGetIndex(struct device *device, unsigned *index)
{
    OBEY(device);
    *index = (unsigned)device->index;
    return SUCCESS;
}

int nvmlDeviceGetMinorNumber(struct device *device, unsigned *minor)
{
    OBEY(device);
    *minor = (unsigned)device->parent->index;
    return SUCCESS;
}

int nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned length)
{
    OBEY(device);
    return copy(uuid, length, device->uuid);
}

int nvmlDeviceGetName(struct device *device, char *name, unsigned length)
{
    char text[160];
    OBEY(device);
    if (!device->instance)
        return copy(name, length, device->name);
    snprintf(text, sizeof text, device->unnamed ? "%s MIG" : "%s MIG %s", device->parent->name,
             device->profile);
    return copy(name, length, text);
}

int nvmlDeviceGetMigMode(struct device *device, unsigned *current, unsigned *pending)
{
    OBEY(device);
    if (device->mode == NO_MIG || device->instance)
        return ERROR_NOT_SUPPORTED;
    *current = *pending = device->mode == MIG;
    return SUCCESS;
}

int nvmlDeviceIsMigDeviceHandle(struct device *device, unsigned *answer)
{
    OBEY(device);
    *answer = (unsigned)device->instance;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count_of)
{
    OBEY(device);
    *count_of = device->mode == NO_MIG ? 0 : MAX_INSTANCES;
    return SUCCESS;
}

/* Only of the largest profiles: which of them there are says how many slices a GPU has. */
int nvmlDeviceGetGpuInstanceProfileInfoV(struct device *device, unsigned profile, unsigned *info)
{
    unsigned slices;
    OBEY(device);
    if (device->mode != MIG)
        return ERROR_NOT_SUPPORTED;
    slices = strstr(device->name, "A30") ? 4 : 7;
    if (!(profile == 4 && slices == 7) && !(profile == 3 && slices == 4))
        return ERROR_NOT_SUPPORTED;
    info[3] = slices;
    info[4] = 1;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index,
                                        struct device **instance)
{
    OBEY(device);
    if (device->instance || index >= MAX_INSTANCES)
        return ERROR_INVALID_ARGUMENT;
    if (!instances[device->index][index].present)
        return ERROR_NOT_FOUND;
    *instance = &instances[device->index][index];
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct device *device, struct device **parent)
{
    OBEY(device);
    if (!device->instance)
        return ERROR_INVALID_ARGUMENT;
    *parent = device->parent;
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(struct device *device, unsigned *id)
{
    OBEY(device);
    if (!device->instance)
        return ERROR_NOT_SUPPORTED;
    *id = (unsigned)device->index + 1;
    return SUCCESS;
}

int nvmlDeviceGetComputeInstanceId(struct device *device, unsigned *id)
{
    OBEY(device);
    if (!device->instance)
        return ERROR_NOT_SUPPORTED;
    *id = 0;
    return SUCCESS;
}

int nvmlDeviceGetAttributes_v2(struct device *device, struct attributes *attributes)
{
    unsigned slices, gigabytes, compute;
    OBEY(device);
    if (!device->instance)
        return ERROR_NOT_SUPPORTED;
    if (sscanf(device->profile, "%uc.%ug.%ugb", &compute, &slices, &gigabytes) != 3) {
        if (sscanf(device->profile, "%ug.%ugb", &slices, &gigabytes) != 2)
            return ERROR_NOT_SUPPORTED;
        compute = slices;
    }
    memset(attributes, 0, sizeof *attributes);
    attributes->gpu_slices = slices;
    attributes->compute_slices = compute;
    /* The driver keeps a little for itself. */
    attributes->memory_mb = gigabytes * 1024ULL - 170;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(struct device *device, unsigned *rates)
{
    long long now = boottime();
    OBEY(device);
    if (!has_utilisation(device))
        return ERROR_NOT_SUPPORTED;
    rates[0] = (unsigned)((busy(&device->load, now - device->sample_ms, now)
                           + device->sample_ms / 2) / device->sample_ms);
    rates[1] = rates[0] / 2;
    return SUCCESS;
}

/* A sample's stamp is of the wall clock. The difference of the clocks is taken once, so that the
 * same sample has the same stamp each time. */
static long long wall_offset(void)
{
    static long long kept;
    long long offset = microseconds(CLOCK_REALTIME) - microseconds(CLOCK_BOOTTIME);
    if (llabs(offset - kept) > 10000)
        kept = offset;
    return kept;
}

int nvmlDeviceGetSamples(struct device *device, int type, unsigned long long last_seen,
                         int *value_type, unsigned *count_of, struct sample *samples)
{
    long long newest = boottime(), offset;
    unsigned found = 0;
    OBEY(device);
    if (type != 1 || !has_utilisation(device) || !device->sample_count)
        return ERROR_NOT_SUPPORTED;
    *value_type = 1;
    if (!samples) {
        *count_of = (unsigned)device->sample_count;
        return SUCCESS;
    }
    pthread_mutex_lock(&lock);
    offset = wall_offset();
    pthread_mutex_unlock(&lock);
    newest /= device->sample_ms;
    for (long long at = newest - device->sample_count + 1; at <= newest; at++) {
        long long end = at * device->sample_ms, begin = end - device->sample_ms;
        unsigned long long stamp = (unsigned long long)(end * 1000 + offset);
        if (stamp <= last_seen || found == *count_of)
            continue;
        samples[found].stamp = stamp;
        samples[found++].value = (unsigned)((busy(&device->load, begin, end)
                                             + device->sample_ms / 2) / device->sample_ms);
    }
    *count_of = found;
    return found ? SUCCESS : ERROR_NOT_FOUND;
}

static int processes_of(struct device *device, unsigned *count_of, struct process_info *infos)
{
    long long now = boottime();
    unsigned found = 0;
    for (int i = 0; i < device->process_count; i++)
        found += device->processes[i].from <= now && now < device->processes[i].to;
    if (*count_of < found) {
        *count_of = found;
        return ERROR_INSUFFICIENT_SIZE;
    }
    *count_of = found;
    for (int i = 0, at = 0; i < device->process_count; i++) {
        struct process *process = &device->processes[i];
        if (process->from > now || now >= process->to)
            continue;
        infos[at].pid = process->pid;
        infos[at].bytes = process->bytes;
        infos[at].gpu_instance = device->instance ? (unsigned)device->index + 1 : NOT_AVAILABLE;
        infos[at++].compute_instance = device->instance ? 0 : NOT_AVAILABLE;
    }
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(struct device *device, unsigned *count_of,
                                            struct process_info *infos)
{
    OBEY(device);
    return processes_of(device, count_of, infos);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(struct device *device, unsigned *count_of,
                                             struct process_info *infos)
{
    (void)infos;
    OBEY(device);
    *count_of = 0;
    return SUCCESS;
}

static unsigned long long held(const struct device *device)
{
    unsigned long long bytes = 0;
    for (int i = 0; i < device->process_count; i++)
        bytes += device->processes[i].bytes;
    return bytes;
}

static unsigned long long capacity(const struct device *device)
{
    unsigned slices, gigabytes;
    if (device->instance && sscanf(device->profile, "%ug.%ugb", &slices, &gigabytes) == 2)
        return gigabytes * (1ULL << 30);
    return 40ULL << 30;
}

int nvmlDeviceGetMemoryInfo(struct device *device, unsigned long long *memory)
{
    OBEY(device);
    memory[0] = capacity(device);
    memory[2] = held(device);
    memory[1] = memory[0] - memory[2];
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(struct device *device, unsigned long long *memory)
{
    OBEY(device);
    memory[1] = capacity(device);
    memory[2] = 0;
    memory[4] = held(device);
    memory[3] = memory[1] - memory[4];
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(struct device *device, unsigned long long *millijoules)
{
    OBEY(device);
    if (device->instance || !device->energy_known)
        return ERROR_NOT_SUPPORTED;
    *millijoules = (unsigned long long)(device->energy_start
                                        + device->milliwatt * boottime() / 1000);
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(struct device *device, unsigned *milliwatts)
{
    OBEY(device);
    if (device->instance)
        return ERROR_NOT_SUPPORTED;
    *milliwatts = (unsigned)device->milliwatt;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(struct device *device, int sensor, unsigned *celsius)
{
    (void)sensor;
    OBEY(device);
    *celsius = 40;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(struct device *device, int type, unsigned *megahertz)
{
    (void)type;
    OBEY(device);
    *megahertz = 1410;
    return SUCCESS;
}

/* What follows is asked for by others' tools, never by the agent. */
int nvmlDeviceGetPowerManagementLimit(struct device *device, unsigned *milliwatts)
{
    OBEY(device);
    if (device->instance)
        return ERROR_NOT_SUPPORTED;
    *milliwatts = 400000;
    return SUCCESS;
}

int nvmlDeviceGetFanSpeed(struct device *device, unsigned *percent)
{
    (void)percent;
    OBEY(device);
    return ERROR_NOT_SUPPORTED;
}

int nvmlDeviceGetEncoderUtilization(struct device *device, unsigned *percent, unsigned *period)
{
    OBEY(device);
    if (!has_utilisation(device))
        return ERROR_NOT_SUPPORTED;
    *percent = 0;
    *period = 167000;
    return SUCCESS;
}

int nvmlDeviceGetDecoderUtilization(struct device *device, unsigned *percent, unsigned *period)
{
    OBEY(device);
    if (!has_utilisation(device))
        return ERROR_NOT_SUPPORTED;
    *percent = 0;
    *period = 167000;
    return SUCCESS;
}

int nvmlDeviceGetPcieThroughput(struct device *device, int counter, unsigned *kilobytes)
{
    (void)counter;
    OBEY(device);
    if (device->instance)
        return ERROR_NOT_SUPPORTED;
    *kilobytes = 0;
    return SUCCESS;
}

int nvmlDeviceGetProcessUtilization(struct device *device, struct process_use *uses,
                                    unsigned *count_of, unsigned long long last_seen)
{
    unsigned size = *count_of;
    (void)last_seen;
    OBEY(device);
    if (!has_utilisation(device))
        return ERROR_NOT_SUPPORTED;
    *count_of = (unsigned)device->process_count;
    if (!device->process_count)
        return ERROR_NOT_FOUND;
    if (!uses || size < *count_of)
        return ERROR_INSUFFICIENT_SIZE;
    for (int i = 0; i < device->process_count; i++) {
        long long now = boottime();
        memset(&uses[i], 0, sizeof uses[i]);
        uses[i].pid = device->processes[i].pid;
        uses[i].stamp = (unsigned long long)microseconds(CLOCK_REALTIME);
        uses[i].gpu = (unsigned)(busy(&device->load, now - 1000, now) / 1000
                                 / device->process_count);
    }
    return SUCCESS;
}

int nvmlEventSetCreate(struct event_set **set)
{
    OBEY(NULL);
    *set = calloc(1, sizeof **set);
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(struct device *device, unsigned long long types, struct event_set *set)
{
    OBEY(device);
    if (device->silent || types != EVENT_MIG_CONFIG_CHANGE)
        return ERROR_NOT_SUPPORTED;
    set->gpu = device;
    set->seen = changes[device->index];
    return SUCCESS;
}

int nvmlEventSetWait_v2(struct event_set *set, struct event *event, unsigned timeout_ms)
{
    (void)timeout_ms;
    OBEY(set->gpu);
    if (set->seen == changes[set->gpu->index])
        return ERROR_TIMEOUT;
    set->seen = changes[set->gpu->index];
    memset(event, 0, sizeof *event);
    event->gpu = set->gpu;
    event->type = EVENT_MIG_CONFIG_CHANGE;
    return SUCCESS;
}

int nvmlEventSetFree(struct event_set *set)
{
    free(set);
    return SUCCESS;
}

int nvmlGpmQueryDeviceSupport(struct device *device, unsigned *support)
{
    OBEY(device);
    support[1] = (unsigned)device->gpm;
    return SUCCESS;
}

int nvmlGpmSampleAlloc(struct gpm_sample **sample)
{
    OBEY(NULL);
    *sample = calloc(1, sizeof **sample);
    return SUCCESS;
}

int nvmlGpmSampleFree(struct gpm_sample *sample)
{
    free(sample);
    return SUCCESS;
}

int nvmlGpmMigSampleGet(struct device *device, unsigned gpu_instance, struct gpm_sample *sample)
{
    OBEY(device);
    if (!device->gpm)
        return ERROR_NOT_SUPPORTED;
    if (!gpu_instance || gpu_instance > MAX_INSTANCES
        || !instances[device->index][gpu_instance - 1].present)
        return ERROR_INVALID_ARGUMENT;
    sample->device = &instances[device->index][gpu_instance - 1];
    sample->at = boottime();
    return SUCCESS;
}

int nvmlGpmMetricsGet(struct gpm_get *get)
{
    const struct gpm_sample *first = get->first, *second = get->second;
    OBEY(NULL);
    if (!first->device || first->device != second->device || second->at <= first->at)
        return ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < get->count; i++) {
        struct gpm_metric *metric = &get->metrics[i];
        metric->code = metric->id == 1 ? SUCCESS : ERROR_NOT_SUPPORTED;
        if (metric->id == 1)
            metric->value = (double)busy(&first->device->load, first->at, second->at)
                            / (double)(second->at - first->at);
    }
    return SUCCESS;
}
