/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/coord/tree.h"

#include <string.h>

/* ZooKeeper refuses control characters as well, and parts that walk. */
bool mr_coord_path_is_valid(const char *path)
{
    if (path[0] != '/' || strlen(path) > MR_COORD_PATH_MAX)
        return false;
    if (path[1] == '\0')
        return true;
    for (const char *step = path + 1;;) {
        size_t bytes = strcspn(step, "/");
        if (bytes == 0 || (bytes == 1 && step[0] == '.') || (bytes == 2 && step[0] == '.' && step[1] == '.'))
            return false;
        for (size_t i = 0; i < bytes; i++)
            if ((unsigned char)step[i] < 0x20 || step[i] == 0x7f)
                return false;
        if (step[bytes] == '\0')
            return true;
        step += bytes + 1;
    }
}

void mr_coord_path_parent(const char *path, char parent[MR_COORD_PATH_MAX + 1])
{
    size_t bytes = (size_t)(strrchr(path, '/') - path);

    memcpy(parent, path, bytes);
    parent[bytes] = '\0';
    if (bytes == 0)
        memcpy(parent, "/", 2);
}
