/* SPDX-License-Identifier: Apache-2.0 */
/* A word to the service manager (sd_notify(3)): a datagram to $NOTIFY_SOCKET. Without one it is nothing. */
#ifndef MR_BASE_NOTIFY_H
#define MR_BASE_NOTIFY_H

/** @param state "READY=1", "STOPPING=1". Never blocks; what cannot be told is not. */
void mr_notify(const char *state);

#endif
