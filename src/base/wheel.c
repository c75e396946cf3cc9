#include "wheel.h"

void wheel_init(struct wheel *wheel, uint64_t now)
{
	wheel->now = now;
	for (size_t i = 0; i < WHEEL_SLOTS; i++)
		list_init(&wheel->slots[i]);
}

void wheel_remove(struct wheel_entry *entry)
{
	if (entry->of_slot.next)
		list_remove(&entry->of_slot);
}

void wheel_set(struct wheel *wheel, struct wheel_entry *entry, uint64_t due)
{
	wheel_remove(entry);
	entry->due = due > wheel->now ? due : wheel->now + 1;
	list_append(&wheel->slots[entry->due % WHEEL_SLOTS], &entry->of_slot);
}

/* The slot is emptied first, so that the callback may modify any slot. */
static void tick(struct wheel *wheel, void (*due)(void *ctx, struct wheel_entry *entry), void *ctx)
{
	struct list *slot = &wheel->slots[wheel->now % WHEEL_SLOTS];
	struct list pending;
	list_take(&pending, slot);
	while (!list_empty(&pending)) {
		struct wheel_entry *entry = LIST_OF(pending.next, struct wheel_entry, of_slot);
		list_remove(&entry->of_slot);
		if (entry->due > wheel->now)
			list_append(slot, &entry->of_slot);
		else
			due(ctx, entry);
	}
}

void wheel_advance(struct wheel *wheel, uint64_t now,
	void (*due)(void *ctx, struct wheel_entry *entry), void *ctx)
{
	/* One revolution reaches every slot, however long the pause was. */
	if (now > wheel->now + WHEEL_SLOTS)
		wheel->now = now - WHEEL_SLOTS;
	while (wheel->now < now) {
		wheel->now++;
		tick(wheel, due, ctx);
	}
}
