/* A stand-in for libnvidia-ml.so.1 on machines without a GPU.
 *
 * What it answers is in the text file that FAKE_NVML names, read again at every nvmlInit and
 * nvmlDeviceGetCount, so that a test can change the machine while it runs. One item a line:
 *
 *     gpu UUID mig|whole|nomig NAME...     "nomig": a model that has no MIG mode
 *     mig UUID PROFILE [unnamed]           an instance on the GPU above; "unnamed": its NVML name
 *                                          does not say the profile
 *     fault FUNCTION CODE [UUID]           FUNCTION answers CODE (for that device only)
 *     hang FUNCTION SECONDS                FUNCTION takes that long
 *
 * A function that is not here is reported by the client as FunctionNotFound; nothing is made up.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUCCESS 0
#define ERROR_UNINITIALIZED 1
#define ERROR_INVALID_ARGUMENT 2
#define ERROR_NOT_SUPPORTED 3
#define ERROR_NOT_FOUND 6
#define ERROR_INSUFFICIENT_SIZE 7
#define ERROR_DRIVER_NOT_LOADED 9

enum { WHOLE, MIG, NO_MIG, INSTANCE };
enum { MAX_DEVICES = 256, MAX_RULES = 64, MAX_INSTANCES = 7 };

struct device {
    int kind;
    int parent;
    int unnamed;
    char uuid[96];
    char name[96];
    char profile[32];
};

struct rule {
    char function[64];
    char uuid[96];
    int code;
    int seconds;
};

struct attributes {
    unsigned multiprocessors, copy_engines, decoders, encoders, jpeg, ofa;
    unsigned gpu_slices, compute_slices;
    unsigned long long memory_mb;
};

static struct device devices[MAX_DEVICES];
static struct rule rules[MAX_RULES];
static int device_count, rule_count, initialised;

static int read_script(void)
{
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512], mode[16], last[32];
    int parent = -1;

    if (!file)
        return ERROR_DRIVER_NOT_LOADED;
    device_count = rule_count = 0;
    while (fgets(line, sizeof line, file) && device_count < MAX_DEVICES && rule_count < MAX_RULES) {
        struct device *device = &devices[device_count];
        struct rule *rule = &rules[rule_count];
        memset(device, 0, sizeof *device);
        memset(rule, 0, sizeof *rule);
        if (sscanf(line, "gpu %95s %15s %95[^\n]", device->uuid, mode, device->name) == 3) {
            device->kind = !strcmp(mode, "mig") ? MIG : !strcmp(mode, "nomig") ? NO_MIG : WHOLE;
            parent = device->parent = device_count++;
        } else if (parent >= 0
                   && sscanf(line, "mig %95s %31s %31s", device->uuid, device->profile, last) >= 2) {
            device->kind = INSTANCE;
            device->parent = parent;
            device->unnamed = strstr(line, " unnamed") != NULL;
            device_count++;
        } else if (sscanf(line, "fault %63s %d %95s", rule->function, &rule->code, rule->uuid) >= 2
                   || sscanf(line, "hang %63s %d", rule->function, &rule->seconds) == 2) {
            rule_count++;
        }
    }
    fclose(file);
    return SUCCESS;
}

/* What the script says that this function should do before it answers. */
static int obey(const char *function, const struct device *device)
{
    for (int i = 0; i < rule_count; i++) {
        if (strcmp(rules[i].function, function))
            continue;
        if (rules[i].uuid[0] && (!device || strcmp(rules[i].uuid, device->uuid)))
            continue;
        if (rules[i].seconds)
            sleep(rules[i].seconds);
        if (rules[i].code)
            return rules[i].code;
    }
    return initialised ? SUCCESS : ERROR_UNINITIALIZED;
}

#define OBEY(function, device)                                                                    \
    do {                                                                                          \
        int code_ = obey(function, device);                                                       \
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

int nvmlInitWithFlags(unsigned flags)
{
    int code = read_script();
    (void)flags;
    if (code != SUCCESS)
        return code;
    initialised++;
    code = obey("nvmlInitWithFlags", NULL);
    if (code != SUCCESS)
        initialised--;
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    if (!initialised)
        return ERROR_UNINITIALIZED;
    initialised--;
    return SUCCESS;
}

const char *nvmlErrorString(int code)
{
    (void)code;
    return "an error of the fake NVML";
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    int code = read_script();
    if (code != SUCCESS)
        return code;
    OBEY("nvmlDeviceGetCount_v2", NULL);
    *count = 0;
    for (int i = 0; i < device_count; i++)
        *count += devices[i].kind != INSTANCE;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **handle)
{
    for (int i = 0; i < device_count; i++) {
        if (devices[i].kind == INSTANCE || index--)
            continue;
        OBEY("nvmlDeviceGetHandleByIndex_v2", &devices[i]);
        *handle = &devices[i];
        return SUCCESS;
    }
    return ERROR_INVALID_ARGUMENT;
}

int nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned length)
{
    OBEY("nvmlDeviceGetUUID", device);
    return copy(uuid, length, device->uuid);
}

int nvmlDeviceGetName(struct device *device, char *name, unsigned length)
{
    char text[160];
    OBEY("nvmlDeviceGetName", device);
    if (device->kind != INSTANCE)
        return copy(name, length, device->name);
    snprintf(text, sizeof text, device->unnamed ? "%s MIG" : "%s MIG %s",
             devices[device->parent].name, device->profile);
    return copy(name, length, text);
}

int nvmlDeviceGetMigMode(struct device *device, unsigned *current, unsigned *pending)
{
    OBEY("nvmlDeviceGetMigMode", device);
    if (device->kind == NO_MIG)
        return ERROR_NOT_SUPPORTED;
    *current = *pending = device->kind == MIG;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count)
{
    OBEY("nvmlDeviceGetMaxMigDeviceCount", device);
    *count = device->kind == NO_MIG ? 0 : MAX_INSTANCES;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index,
                                        struct device **instance)
{
    OBEY("nvmlDeviceGetMigDeviceHandleByIndex", device);
    for (int i = 0; i < device_count; i++) {
        if (devices[i].kind != INSTANCE || &devices[devices[i].parent] != device || index--)
            continue;
        *instance = &devices[i];
        return SUCCESS;
    }
    return ERROR_NOT_FOUND;
}

int nvmlDeviceGetAttributes_v2(struct device *device, struct attributes *attributes)
{
    unsigned slices, gigabytes;
    OBEY("nvmlDeviceGetAttributes_v2", device);
    if (device->kind != INSTANCE
        || sscanf(device->profile, "%ug.%ugb", &slices, &gigabytes) != 2)
        return ERROR_NOT_SUPPORTED;
    memset(attributes, 0, sizeof *attributes);
    attributes->gpu_slices = attributes->compute_slices = slices;
    /* The driver keeps a little for itself. */
    attributes->memory_mb = gigabytes * 1024ULL - 170;
    return SUCCESS;
}
