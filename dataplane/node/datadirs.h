/* SPDX-License-Identifier: Apache-2.0 */
/* All log directories of a node: that they are the right ones, and all of them. A disk that is not mounted leaves an empty directory, and a log
 * that begins anew there takes the offsets of acknowledged records a second time; so what log.dirs names is held against what the node knows.
 *
 * Directories are known by their ids, not by path or order. The home is the one that holds `log-dirs` or topics.json; on a first start, when
 * all are empty, the first. The start is refused, and nothing changed, when
 *
 *   - no directory is a home, though one of them was in use, or two are;
 *   - one that `log-dirs` lists is not there;
 *   - one that is in use by a log is not listed.
 *
 * An empty one besides is a new one: it gets its id, and a line in `log-dirs`, before anything is put into it. */
#ifndef MR_DATAPLANE_NODE_DATADIRS_H
#define MR_DATAPLANE_NODE_DATADIRS_H

#include "dataplane/log/log.h"
#include "dataplane/node/datadir.h"

struct mr_datadirs {
    struct mr_datadir item[MR_LOG_DIRECTORIES_MAX]; /* in the order of log.dirs */
    uint32_t count, home;
};

/**
 * Lock, check and claim them.
 * @param directories mr_datadirs_close() them, also after an error
 * @return 0; as mr_datadir_open(); -ENOENT (one is missing); -EINVAL (not of one node), with a message that says what to do
 */
int mr_datadirs_open(struct mr_datadirs *directories, const struct mr_config_list *paths, int64_t broker_id, struct millrace_error *err) MR_MUST_USE;
void mr_datadirs_close(struct mr_datadirs *directories);

static inline const struct mr_datadir *mr_datadirs_home(const struct mr_datadirs *directories)
{
    return &directories->item[directories->home];
}

#endif
