/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked circular lists. A node is in at most one list; an unlinked one points to itself. */
#ifndef MR_DATAPLANE_LOG_LIST_H
#define MR_DATAPLANE_LOG_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *next, *previous;
};

#define list_entry(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))

static inline void list_init(struct list_node *node)
{
    node->next = node;
    node->previous = node;
}

static inline bool list_is_empty(const struct list_node *head)
{
    return head->next == head;
}

static inline bool list_is_linked(const struct list_node *node)
{
    return node->next != node;
}

static inline void list_remove(struct list_node *node)
{
    node->next->previous = node->previous;
    node->previous->next = node->next;
    list_init(node);
}

/** Put a node that is in no list at the end. */
static inline void list_append(struct list_node *head, struct list_node *node)
{
    node->previous = head->previous;
    node->next = head;
    head->previous->next = node;
    head->previous = node;
}

static inline void list_prepend(struct list_node *head, struct list_node *node)
{
    list_append(head->next, node);
}

#endif
