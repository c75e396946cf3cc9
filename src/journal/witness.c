#include "witness.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "position.h"

#define MAX_TURNS 64
/* Transactions: verifying one costs the database an index probe. Also in pgcast.constants. */
#define MAX_TRANSACTIONS 512

/* Times are microseconds of the database's clock. The transactions are those above `low` and up to
 * `m` that are not open at the position, and `ended`, which were open before. */
struct turn {
	uint64_t low, m;
	uint64_t now;	 /* after its snapshot */
	uint64_t newest; /* the latest event */
	uint64_t n, sum; /* transactions, and the times of their last events */
	uint64_t *ended;
	size_t n_ended;
};

struct witness {
	struct turn turns[MAX_TURNS]; /* oldest first */
	size_t n;
};

struct witness *witness_create(void)
{
	return xcalloc(1, sizeof(struct witness));
}

/* Drops the oldest turns. */
static void drop(struct witness *witness, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(witness->turns[i].ended);
	witness->n -= n;
	memmove(witness->turns, witness->turns + n, witness->n * sizeof(*witness->turns));
}

void witness_destroy(struct witness **witness)
{
	if (!*witness)
		return;
	drop(*witness, (*witness)->n);
	free(*witness);
	*witness = NULL;
}

/* ---- the texts ---- */

/* The field with the witness: at[-SUM-LOW[-ENDED[-HIGH-OPEN]]], then .m[.distance…]. LOW and ENDED,
 * which is 1_2_3, are distances from m, or from HIGH in an earlier cursor: there OPEN is a bit for
 * each id from LOW + 1 on, in hexadecimal digits. */
static const char *witness_field(const char *position)
{
	const char *p = strchr(position, '.');
	p = p ? strchr(p + 1, '.') : NULL;
	return p ? p + 1 : NULL;
}

static uint64_t read_number(const char **text)
{
	char *end;
	uint64_t number = strtoull(*text, &end, 10);
	*text = end;
	return number;
}

static uint64_t read_m(const char *position)
{
	const char *field = witness_field(position);
	const char *m = field ? strchr(field, '.') : NULL;
	return m ? strtoull(m + 1, NULL, 10) : 0;
}

static void add_ended(struct turn *turn, uint64_t xid)
{
	turn->ended = xrealloc(turn->ended, (turn->n_ended + 1) * sizeof(*turn->ended));
	turn->ended[turn->n_ended++] = xid;
}

/* ---- turns ---- */

/* Two turns as one; the second is consumed. */
static void merge(struct turn *first, struct turn *second)
{
	first->m = second->m;
	first->now = second->now;
	if (first->newest < second->newest)
		first->newest = second->newest;
	first->n += second->n;
	first->sum += second->sum;
	for (size_t i = 0; i < second->n_ended; i++)
		add_ended(first, second->ended[i]);
	free(second->ended);
}

static struct turn *append(struct witness *witness)
{
	if (witness->n == MAX_TURNS) {
		merge(&witness->turns[0], &witness->turns[1]);
		witness->n--;
		memmove(witness->turns + 1, witness->turns + 2,
			(witness->n - 1) * sizeof(*witness->turns));
	}
	struct turn *turn = &witness->turns[witness->n++];
	*turn = (struct turn){0};
	return turn;
}

/* Drops the turns whose snapshot was taken before a later transaction wrote. */
static void drop_covered(struct witness *witness)
{
	uint64_t newest = 0;
	for (size_t i = witness->n; i-- > 1;) {
		if (newest < witness->turns[i].newest)
			newest = witness->turns[i].newest;
		if (newest > witness->turns[i - 1].now) {
			drop(witness, i);
			return;
		}
	}
}

void witness_add(struct witness *witness, const char *position, const char *brought, bool in_order)
{
	struct turn *turn = append(witness);
	turn->now = read_number(&brought);
	turn->low = read_number(&brought);
	turn->newest = read_number(&brought);
	turn->n = read_number(&brought);
	turn->sum = read_number(&brought);
	while (*brought)
		add_ended(turn, read_number(&brought));
	turn->m = read_m(position);
	if (in_order)
		drop(witness, witness->n - 1);
	else
		drop_covered(witness);
}

void witness_restart(struct witness *witness, const char *position)
{
	const char *field = witness_field(position);
	drop(witness, witness->n);
	if (!field)
		return;
	/* Its own time is not known: it counts until the next transaction that is later than the
	 * turn after it. */
	struct turn *turn = append(witness);
	turn->now = UINT64_MAX;
	turn->m = read_m(position);
	turn->sum = read_number(&field);
	turn->n = 1;
	turn->low = turn->m ? turn->m - 1 : 0;
	if (*field != '-')
		return;
	field++;
	turn->sum = read_number(&field);
	turn->n = 2;
	field++;
	turn->low = turn->m - read_number(&field);
	while (*field == '-' || *field == '_') {
		field++;
		add_ended(turn, turn->m - read_number(&field));
	}
}

/* ---- writing ---- */

/* All turns as one; `ended` are those up to `low`, to be freed by the caller. */
static struct turn sum_up(const struct witness *witness)
{
	struct turn all = {0};
	for (size_t i = 0; i < witness->n; i++) {
		const struct turn *turn = &witness->turns[i];
		if (!i)
			all.low = turn->low;
		all.m = turn->m;
		all.n += turn->n;
		all.sum += turn->sum;
		for (size_t k = 0; k < turn->n_ended; k++)
			if (turn->ended[k] <= all.low)
				add_ended(&all, turn->ended[k]);
	}
	return all;
}

/* SUM-LOW[-ENDED], to be freed by the caller. */
static char *witness_text(const struct turn *all)
{
	char *text = xasprintf("%" PRIu64 "-%" PRIu64, all->sum, all->m - all->low);
	for (size_t i = 0; i < all->n_ended; i++) {
		char *longer =
			xasprintf("%s%c%" PRIu64, text, i ? '_' : '-', all->m - all->ended[i]);
		free(text);
		text = longer;
	}
	return text;
}

char *witness_position(const struct witness *witness, const char *position)
{
	struct turn all = sum_up(witness);
	const char *rest = witness_field(position);
	char *text = NULL;
	/* A single one that has the greatest id is the anchor. */
	if (rest && all.n && all.n <= MAX_TRANSACTIONS && (all.n > 1 || all.n_ended)) {
		rest += strspn(rest, "0123456789");
		char *own = witness_text(&all);
		text = xasprintf(
			"%.*s-%s%s", (int)(rest - position), position, own, strchr(rest, '.'));
		free(own);
	}
	free(all.ended);
	return text ? text : xstrdup(position);
}

static void write_open(char *bitmap, size_t bytes, const struct turn *all, const char *distances)
{
	unsigned char bits[CURSOR_MAX] = {0};
	while (*distances == '.') {
		distances++;
		uint64_t xid = all->m - read_number(&distances), bit = xid - all->low - 1;
		if (xid > all->low)
			bits[bit / 8] = (unsigned char)(bits[bit / 8] | 1u << bit % 8);
	}
	for (size_t i = 0; i < bytes; i++)
		sprintf(bitmap + 2 * i, "%02x", bits[i]);
}

char *witness_earlier_cursor(
	const struct witness *witness, const char *position, const char *earlier)
{
	struct turn all = sum_up(witness);
	size_t bytes = (size_t)(all.m - all.low + 7) / 8;
	char *text = NULL;
	const char *at = witness_field(earlier);
	if (at && all.n && all.n <= MAX_TRANSACTIONS && bytes < CURSOR_MAX / 2) {
		char bitmap[CURSOR_MAX + 1] = "";
		const char *m = strchr(witness_field(position), '.') + 1;
		write_open(bitmap, bytes, &all, m + strspn(m, "0123456789"));
		at += strspn(at, "0123456789");
		char *own = witness_text(&all);
		text = xasprintf("%.*s-%s%s-%" PRIu64 "-%s%s", (int)(at - earlier), earlier, own,
			all.n_ended ? "" : "-", all.m, bitmap, strchr(at, '.'));
		free(own);
	}
	free(all.ended);
	if (text && strlen(text) <= CURSOR_MAX)
		return text;
	free(text);
	return xstrdup(earlier);
}
