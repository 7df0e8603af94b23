/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/memory/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <numa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "shm/base/bits.h"

#define HUGE_PAGE_BYTES  (2u << 20)
#define PIECE_BYTES      (2u << 20) /* made between two calls of mr_memory_between: some milliseconds */
#define STAT_BLOCK_BYTES 512u       /* st_blocks, whatever the file system's own are */

#define HUGE_POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static uint64_t huge_pages(const char *file)
{
    unsigned long long pages = 0;
    FILE *f = fopen(file, "re");
    if (f != NULL) {
        if (fscanf(f, "%llu", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return pages;
}

void mr_memory_more_huge(uint64_t wanted_bytes, char *text, size_t text_bytes)
{
    uint64_t pages = huge_pages(HUGE_POOL "nr_hugepages") + mr_align_up(wanted_bytes, HUGE_PAGE_BYTES) / HUGE_PAGE_BYTES;
    snprintf(text, text_bytes, "run: hugeadm --pool-pages-min 2MB:%llu, or lower millrace.memory.bytes", (unsigned long long)pages);
}

/* The first mounted hugetlbfs with 2 MiB pages that we may write to. */
static bool find_huge_mount(char *path, size_t path_bytes)
{
    bool found = false;
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    struct mntent *entry;
    if (mounts == NULL)
        return false;
    while (!found && (entry = getmntent(mounts)) != NULL) {
        struct statfs fs;
        if (strcmp(entry->mnt_type, "hugetlbfs") != 0 || access(entry->mnt_dir, W_OK) != 0)
            continue;
        if (statfs(entry->mnt_dir, &fs) == 0 && fs.f_bsize == HUGE_PAGE_BYTES) {
            snprintf(path, path_bytes, "%s", entry->mnt_dir);
            found = true;
        }
    }
    endmntent(mounts);
    return found;
}

static int read_boot_id(struct mr_uuid *boot_id)
{
    char text[64] = "";
    unsigned value;
    uint32_t count = 0;
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (f == NULL)
        return -errno;
    if (fgets(text, sizeof text, f) == NULL)
        text[0] = '\0';
    fclose(f);
    for (const char *at = text; *at != '\0' && *at != '\n' && count < sizeof boot_id->bytes;) {
        if (*at == '-') {
            at++;
            continue;
        }
        if (sscanf(at, "%2x", &value) != 1)
            return -EBADMSG;
        boot_id->bytes[count++] = (uint8_t)value;
        at += 2;
    }
    return count == sizeof boot_id->bytes ? 0 : -EBADMSG;
}

static int make_folder(char *folder, size_t folder_bytes, const char *mount, const struct mr_uuid *id, struct millrace_error *err)
{
    int used = snprintf(folder, folder_bytes, "%s/millrace-", mount);
    for (uint32_t i = 0; i < sizeof id->bytes && used > 0 && (size_t)used < folder_bytes; i++)
        used += snprintf(folder + used, folder_bytes - (size_t)used, "%02x", id->bytes[i]);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return mr_err(err, errno, "cannot make the memory folder '%s': %s; check who may write there", folder, strerror(errno));
    return 0;
}

int mr_memory_open(struct mr_memory *memory, const char *setting, const struct mr_uuid *directory_id, uint64_t extent_bytes,
                   struct millrace_error *err)
{
    char mount[MR_MEMORY_PATH_MAX / 2] = "";
    bool wanted = strcmp(setting, "off") != 0;
    bool required = wanted && strcmp(setting, "auto") != 0;
    uint64_t pages = huge_pages(HUGE_POOL "free_hugepages");
    uint64_t need = extent_bytes / HUGE_PAGE_BYTES;

    memset(memory, 0, sizeof *memory);
    int rc = read_boot_id(&memory->boot_id);
    if (rc != 0)
        return mr_err(err, -rc, "cannot read /proc/sys/kernel/random/boot_id: %s; is /proc mounted?", strerror(-rc));
    rc = make_folder(memory->plain_folder, sizeof memory->plain_folder, "/dev/shm", directory_id, err);
    if (rc != 0)
        return rc;
    if (!wanted) {
        snprintf(memory->said, sizeof memory->said, "memory: ordinary pages (millrace.hugepages=off), slower under load");
        return 0;
    }
    bool mounted;
    if (setting[0] == '/') {
        struct statfs fs;
        mounted = statfs(setting, &fs) == 0 && fs.f_bsize == HUGE_PAGE_BYTES && access(setting, W_OK) == 0;
        snprintf(mount, sizeof mount, "%s", setting);
        if (!mounted)
            return mr_err(err, ENOENT, "millrace.hugepages=%s is not a writable hugetlbfs with 2 MiB pages; "
                          "mount one: mount -t hugetlbfs none %s, or set millrace.hugepages=auto", setting, setting);
    } else {
        mounted = find_huge_mount(mount, sizeof mount);
    }
    if (required && (!mounted || pages < need))
        return mr_err(err, ENOMEM, "millrace.hugepages=%s needs %llu hugepages of 2 MiB, %llu are free%s; run: hugeadm --pool-pages-min 2MB:512%s, "
                      "or set millrace.hugepages=auto", setting, (unsigned long long)need, (unsigned long long)pages,
                      mounted ? "" : " and no hugetlbfs is mounted", mounted ? "" : " --create-global-mounts");
    if (mounted) {
        /* Pages that a dead daemon's extents hold are not free, but they are ours to adopt. */
        rc = make_folder(memory->huge_folder, sizeof memory->huge_folder, mount, directory_id, err);
        if (rc != 0)
            return rc;
        if (pages < need && rmdir(memory->huge_folder) == 0)
            memory->huge_folder[0] = '\0';
    }
    if (memory->huge_folder[0] != '\0') {
        memory->huge_free_bytes = pages * HUGE_PAGE_BYTES;
        snprintf(memory->said, sizeof memory->said, "memory: 2 MiB hugepages at %s (%llu free)", mount, (unsigned long long)pages);
    } else {
        snprintf(memory->said, sizeof memory->said, "memory: ordinary pages, slower under load (%s); for hugepages run: "
                 "hugeadm --pool-pages-min 2MB:512%s", mounted ? "no free hugepages" : "no hugetlbfs mounted",
                 mounted ? "" : " --create-global-mounts");
    }
    return 0;
}

static void file_path(const struct mr_memory *memory, const char *name, bool huge, char *path, size_t path_bytes)
{
    snprintf(path, path_bytes, "%s/%s", huge ? memory->huge_folder : memory->plain_folder, name);
}

static void attend(const struct mr_memory_between *between)
{
    if (between != NULL)
        between->attend(between->context);
}

/* posix_fallocate would write; a memory file system either backs the range or says why not. */
static int back(int fd, uint64_t from, uint64_t bytes, const struct mr_memory_between *between)
{
    uint64_t end = from + bytes, step = between != NULL ? PIECE_BYTES : bytes;
    for (int rc; from < end; from += step) {
        do
            rc = fallocate(fd, 0, (off_t)from, (off_t)mr_min_u64(step, end - from));
        while (rc != 0 && errno == EINTR);
        if (rc != 0)
            return -errno;
        attend(between);
    }
    return 0;
}

/* Fill the page tables now; first touch on a reactor would cost it 40-70 times the copy (docs: limits). Failure is not fatal. */
static void populate(void *base, uint64_t bytes)
{
#ifdef MADV_POPULATE_WRITE
    if (madvise(base, bytes, MADV_POPULATE_WRITE) == 0)
        return;
#endif
    for (uint64_t at = 0; at < bytes; at += MR_BLOCK_BYTES)
        (void)*(volatile const char *)((const char *)base + at);
}

static int create_on(struct mr_memory *memory, const char *name, uint64_t bytes, bool huge, int cpu, const struct mr_memory_between *between,
                     struct mr_memory_file *file, struct millrace_error *err)
{
    char path[MR_MEMORY_PATH_MAX * 2];
    file_path(memory, name, huge, path, sizeof path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return mr_err(err, errno, "cannot create '%s': %s", path, strerror(errno));
    bool bound = numa_available() >= 0 && numa_max_node() > 0 && cpu >= 0;
    if (bound)
        numa_set_preferred(numa_node_of_cpu(cpu));
    int rc = back(fd, 0, bytes, between);
    if (bound)
        numa_set_localalloc();
    if (rc == 0) {
        file->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (file->base == MAP_FAILED)
            rc = -errno;
    }
    if (rc == 0) {
        for (uint64_t at = 0; at < bytes; at += PIECE_BYTES) {
            populate((uint8_t *)file->base + at, mr_min_u64(PIECE_BYTES, bytes - at));
            attend(between);
        }
        file->read_fd = open(path, O_RDONLY | O_CLOEXEC);
        if (file->read_fd < 0) {
            rc = -errno;
            munmap(file->base, bytes);
        }
    }
    close(fd);
    if (rc != 0) {
        unlink(path);
        file->base = NULL;
        return mr_err(err, -rc, "cannot back %llu KiB of memory at '%s': %s; %s", (unsigned long long)(bytes >> 10), path, strerror(-rc),
                      huge ? "reserve more hugepages (hugeadm --pool-pages-min) or lower millrace.memory.bytes"
                           : "enlarge /dev/shm (mount -o remount,size=...) or lower millrace.memory.bytes");
    }
    file->bytes = bytes;
    file->huge = huge;
    return 0;
}

int mr_memory_create(struct mr_memory *memory, const char *name, uint64_t bytes, bool huge, int cpu, const struct mr_memory_between *between,
                     struct mr_memory_file *file, struct millrace_error *err)
{
    memset(file, 0, sizeof *file);
    file->read_fd = -1;
    if (huge && memory->huge_folder[0] != '\0' && create_on(memory, name, bytes, true, cpu, between, file, err) == 0)
        return 0;
    return create_on(memory, name, bytes, false, cpu, between, file, err);
}

int mr_memory_adopt(struct mr_memory *memory, const char *name, bool huge, uint64_t bytes_min, bool touch, struct mr_memory_file *file,
                    struct millrace_error *err)
{
    char path[MR_MEMORY_PATH_MAX * 2];
    struct stat st;
    memset(file, 0, sizeof *file);
    file->read_fd = -1;
    if (huge && memory->huge_folder[0] == '\0')
        return mr_err(err, ENOENT, "there are no hugepages to adopt '%s' from", name);
    file_path(memory, name, huge, path, sizeof path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return mr_err(err, errno, "cannot open '%s': %s", path, strerror(errno));
    int rc = 0;
    if (fstat(fd, &st) != 0)
        rc = -errno;
    else if ((uint64_t)st.st_size < bytes_min)
        rc = -EBADMSG;
    /* A hole in a file of ours would be a SIGBUS later; ask for the pages now. Asking looks at each, which for pages that are there takes
     * as long as their CRC: what the file has is known without. */
    if (rc == 0 && (uint64_t)st.st_blocks * STAT_BLOCK_BYTES < (uint64_t)st.st_size)
        rc = back(fd, 0, (uint64_t)st.st_size, NULL);
    if (rc == 0) {
        file->base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | (touch ? MAP_POPULATE : 0), fd, 0);
        if (file->base == MAP_FAILED) {
            file->base = NULL;
            rc = -errno;
        } else {
            file->bytes = (uint64_t)st.st_size;
            file->read_fd = open(path, O_RDONLY | O_CLOEXEC);
            file->huge = huge;
            if (file->read_fd < 0) {
                rc = -errno;
                mr_memory_unmap(file);
            }
        }
    }
    close(fd);
    return rc == 0 ? 0 : mr_err(err, -rc, "cannot adopt '%s': %s", path, strerror(-rc));
}

static int map_sparse(const struct mr_memory *memory, const char *name, int flags, uint64_t bytes, struct mr_memory_file *file,
                      struct millrace_error *err)
{
    char path[MR_MEMORY_PATH_MAX * 2];
    struct stat st;
    memset(file, 0, sizeof *file);
    file->read_fd = -1;
    file_path(memory, name, false, path, sizeof path);
    int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
    if (fd < 0)
        return mr_err(err, errno, "cannot open '%s': %s", path, strerror(errno));
    int rc = (bytes > 0 && ftruncate(fd, (off_t)bytes) != 0) || fstat(fd, &st) != 0 ? -errno : 0;
    if (rc == 0 && st.st_size > 0) {
        file->base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (file->base == MAP_FAILED) {
            file->base = NULL;
            rc = -errno;
        }
        file->bytes = (uint64_t)st.st_size;
    }
    close(fd);
    return rc == 0 ? 0 : mr_err(err, -rc, "cannot map '%s': %s", path, strerror(-rc));
}

int mr_memory_create_sparse(struct mr_memory *memory, const char *name, uint64_t bytes, struct mr_memory_file *file, struct millrace_error *err)
{
    mr_memory_unlink(memory, name, false);
    return map_sparse(memory, name, O_CREAT | O_EXCL, bytes, file, err);
}

int mr_memory_adopt_sparse(struct mr_memory *memory, const char *name, struct mr_memory_file *file, struct millrace_error *err)
{
    return map_sparse(memory, name, 0, 0, file, err);
}

int mr_memory_back(struct mr_memory *memory, const char *name, uint64_t from, uint64_t bytes, void *at, struct millrace_error *err)
{
    char path[MR_MEMORY_PATH_MAX * 2];
    file_path(memory, name, false, path, sizeof path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return mr_err(err, errno, "cannot open '%s': %s", path, strerror(errno));
    int rc = back(fd, from, bytes, NULL);
    close(fd);
    if (rc != 0)
        return mr_err(err, -rc, "cannot back %llu KiB of '%s': %s; enlarge /dev/shm or lower millrace.memory.bytes",
                      (unsigned long long)(bytes >> 10), path, strerror(-rc));
    if (at != NULL)
        populate(at, bytes);
    return 0;
}

int mr_memory_rename(struct mr_memory *memory, const char *from, const char *to, struct millrace_error *err)
{
    char path[MR_MEMORY_PATH_MAX * 2], new_path[MR_MEMORY_PATH_MAX * 2];
    file_path(memory, from, false, path, sizeof path);
    file_path(memory, to, false, new_path, sizeof new_path);
    return rename(path, new_path) == 0 ? 0 : mr_err(err, errno, "cannot rename '%s' to '%s': %s", path, new_path, strerror(errno));
}

int mr_memory_grow(struct mr_memory *memory, const char *name, uint64_t from, uint64_t bytes, void **piece, struct millrace_error *err)
{
    char path[MR_MEMORY_PATH_MAX * 2];
    file_path(memory, name, false, path, sizeof path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return mr_err(err, errno, "cannot open '%s': %s", path, strerror(errno));
    int rc = back(fd, from, bytes, NULL);
    if (rc == 0) {
        *piece = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)from);
        if (*piece == MAP_FAILED)
            rc = -errno;
        else
            populate(*piece, bytes);
    }
    close(fd);
    if (rc != 0)
        return mr_err(err, -rc, "cannot grow '%s' by %llu KiB: %s; enlarge /dev/shm or lower millrace.memory.bytes", path,
                      (unsigned long long)(bytes >> 10), strerror(-rc));
    return 0;
}

int mr_memory_open_reader(const char *path, struct millrace_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? mr_err(err, errno, "cannot open '%s': %s", path, strerror(errno)) : fd;
}

void mr_memory_unmap(struct mr_memory_file *file)
{
    if (file->base != NULL)
        munmap(file->base, file->bytes);
    if (file->read_fd >= 0)
        close(file->read_fd);
    file->base = NULL;
    file->read_fd = -1;
}

void mr_memory_unlink(struct mr_memory *memory, const char *name, bool huge)
{
    char path[MR_MEMORY_PATH_MAX * 2];
    if (huge && memory->huge_folder[0] == '\0')
        return;
    file_path(memory, name, huge, path, sizeof path);
    unlink(path);
}

static int list_folder(const char *folder, bool huge, int (*each)(void *context, const char *name, bool huge), void *context)
{
    int rc = 0;
    DIR *dir = folder[0] != '\0' ? opendir(folder) : NULL;
    struct dirent *entry;
    if (dir == NULL)
        return 0;
    while (rc == 0 && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            rc = each(context, entry->d_name, huge);
    closedir(dir);
    return rc;
}

int mr_memory_list(struct mr_memory *memory, int (*each)(void *context, const char *name, bool huge), void *context)
{
    int rc = list_folder(memory->huge_folder, true, each, context);
    return rc != 0 ? rc : list_folder(memory->plain_folder, false, each, context);
}

static int unlink_one(void *context, const char *name, bool huge)
{
    mr_memory_unlink(context, name, huge);
    return 0;
}

void mr_memory_clear(struct mr_memory *memory)
{
    mr_memory_list(memory, unlink_one, memory);
    if (memory->huge_folder[0] != '\0')
        rmdir(memory->huge_folder);
    rmdir(memory->plain_folder);
}
