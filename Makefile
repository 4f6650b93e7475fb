# SPDX-License-Identifier: Apache-2.0
# One rule per kind of file; everything is built under build/ (or build/SAN for a sanitizer build).
#   make            build/leat, libcloudevents.a              make test [T=WORD] [SAN=address,undefined|thread] [ALL=1]
#   make demo       the example of the README                 make fuzz [SECONDS=60]   make bench   make lint
#   make crash [POINTS=10000000] [PROFILE=NAME] [SEED=s:p]   crashes of the log on a simulated disk; SEED replays one
#   make crash-real [CYCLES=10000] [SEED=s]                  the real process killed under load, again and again
VERSION  ?= 0.1.0
CC       ?= gcc
ifeq ($(origin CC),default)
CC       := gcc
endif
comma    := ,
B        := build$(if $(SAN),/$(subst $(comma),-,$(SAN)))$(if $(filter clang%,$(CC)),/clang)
PREFIX   ?= /usr/local
PKGS     := libcurl libcjson yaml-0.1 libssl libcrypto sqlite3 rdkafka librabbitmq zlib
WARN     := -Wall -Wextra -Werror -Wshadow -Wconversion -Wmissing-prototypes -Wvla -Wformat=2
HARDEN   := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE $(if $(SAN),,-D_FORTIFY_SOURCE=2)
# A sanitizer's build takes half the time with -O1 and line numbers alone; the compiler knows too little there to judge what is truncated or not initialised: the release build does.
CFLAGS   ?= $(if $(SAN),-O1 -g1,-O2 -g)
WARN     += $(if $(SAN),$(if $(filter clang%,$(CC)),,-Wno-format-truncation -Wno-maybe-uninitialized))
# Unwind tables serve debuggers alone here, who read them from the debug information; what nobody calls is left out.
CFLAGS   += $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer,-fno-asynchronous-unwind-tables -ffunction-sections)
CPPFLAGS += -std=gnu11 -D_GNU_SOURCE -Iinclude -DLEAT_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS))
LDFLAGS  += -pie -Wl,-z,relro,-z,now,-z,pack-relative-relocs -Wl,--as-needed -pthread $(if $(SAN),-fsanitize=$(SAN),-Wl$(comma)--gc-sections)
LDLIBS   := $(shell pkg-config --libs $(PKGS)) -lm

# Who may use whom (docs/internals/house.md): each room links with the rooms below it and no other, so a call upwards fails the build.
ROOMS        := base events clients channels dispatcher sources broker cli
UNDER_base       := base
UNDER_events     := events base
UNDER_clients    := clients events base
UNDER_channels   := channels clients events base
UNDER_dispatcher := dispatcher channels clients events base
UNDER_sources    := sources clients events base
UNDER_broker     := broker dispatcher channels sources clients events base
UNDER_cli        := cli $(UNDER_broker)
libs          = $(foreach r,$(UNDER_$(1)),$(B)/lib$(r).a)
sources_of    = $(wildcard $(1)/*.c $(1)/*/*.c)

all: $(B)/leat $(B)/libcloudevents.a
$(B)/leat: $(call libs,cli)
	$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--whole-archive $(B)/libcli.a -Wl,--no-whole-archive $(filter-out %/libcli.a,$^) $(LDLIBS) -o $@

define room
$(B)/lib$(1).a: $(patsubst %.c,$(B)/%.o,$(call sources_of,$(1)))
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room,$(r))))
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(WARN) $(HARDEN) $(CFLAGS) -MMD -MP -c $< -o $@

# What no event passes, or what waits for a far service anyway, is made small: the command line, resources, the engine and sources; of broker/ these are the files on an event's way.
HOT := ingress entry shard targets routing tap observe injector park parked
$(B)/cli/%.o $(B)/broker/%.o $(B)/sources/%.o $(B)/clients/kube%.o $(B)/clients/pubsub%.o: CFLAGS += $(if $(SAN),,-Os)
$(HOT:%=$(B)/broker/%.o): CFLAGS += $(if $(SAN),,-O2)

# The schemas are the only ones there are: the program embeds deploy/crds/ whole, packed, in the order that crds_embedded.c names.
CRDS := $(shell sed -n 's,^ *CRD("\(.*\)")$$,deploy/crds/\1.yaml,p' broker/resource/crds_embedded.c) broker/resource/foreign_kinds.yaml
$(B)/crds.gz: broker/resource/crds_embedded.c $(CRDS)
	@mkdir -p $(@D)
	@for f in $(CRDS); do echo ---; cat $$f; done | gzip -9n > $@
$(B)/broker/resource/crds_embedded.o: $(B)/crds.gz
$(B)/broker/resource/crds_embedded.o: CPPFLAGS += -DCRDS_PACKED='"$(B)/crds.gz"'

# The CloudEvents library alone: events/ and the base objects it needs.
CE_BASE := array err buf json map prng siphash text text_numbers uuid
$(B)/libcloudevents.a: $(patsubst %.c,$(B)/%.o,$(call sources_of,events)) $(CE_BASE:%=$(B)/base/%.o)
	@rm -f $@
	ar rcs $@ $^

# tests/unit/ROOM_NOUN.c links with ROOM and what lies under it; a fuzz target names its room in its second line; tests/lib holds what tests share.
room_of_unit  = $(firstword $(subst _, ,$(notdir $(1))))
room_of_fuzz  = $(shell sed -n 's,^/\* room: \([a-z]*\) \*/.*,\1,p' $(1))
UNIT := $(wildcard tests/unit/*.c tests/fault/*.c)
FUZZ := $(wildcard tests/fuzz/fuzz_*.c)
BENCHES := $(wildcard tests/bench/bench_*.c)
define test_links
$(B)/$(basename $(1)): $(call libs,$(2))
endef
$(foreach u,$(UNIT),$(eval $(call test_links,$(u),$(call room_of_unit,$(u)))))
$(foreach f,$(FUZZ),$(eval $(call test_links,$(f),$(call room_of_fuzz,$(f)))))
$(foreach f,$(BENCHES),$(eval $(call test_links,$(f),$(if $(call room_of_fuzz,$(f)),$(call room_of_fuzz,$(f)),clients))))
WRAP := $(foreach f,malloc calloc realloc strdup strndup,-Wl,--wrap=$(f))
# The thread sanitizer knows no C11 threads, which librdkafka uses: there tests/lib/c11_threads.c stands in for the C library's.
C11_THREADS := $(if $(filter thread,$(SAN)),-Wl$(comma)-u$(comma)thrd_create)
$(B)/libtests.a: $(patsubst %.c,$(B)/%.o,$(wildcard tests/lib/*.c))
	@rm -f $@
	ar rcs $@ $^
$(UNIT:%.c=$(B)/%): $(B)/%: $(B)/%.o $(B)/libtests.a
	$(CC) $(CFLAGS) $(LDFLAGS) $(WRAP) $(C11_THREADS) $< $(B)/libtests.a $(filter-out $< $(B)/libtests.a,$^) $(B)/libtests.a $(LDLIBS) -lcmocka -o $@
$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(B)/libtests.a
	$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer $< $(B)/libtests.a $(filter-out $< $(B)/libtests.a,$^) $(LDLIBS) -o $@
$(B)/tests/bench/%: $(B)/tests/bench/%.o
	$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@
unit: $(UNIT:%.c=$(B)/%)
$(B)/tests/crash/peer: $(B)/tests/crash/peer.o
	$(CC) $(CFLAGS) $(LDFLAGS) $^ -o $@
$(B)/tests/%.o: WARN += -Wno-missing-prototypes
$(B)/tests/%.o: CPPFLAGS += -I.

test: all
	@T='$(T)' SAN='$(SAN)' ALL='$(ALL)' python3 tests/lib/suites.py
demo: all
	@examples/github-to-service/run
fuzz:
	@T=fuzz FUZZ_SECONDS='$(or $(SECONDS),60)' python3 tests/lib/suites.py
crash: $(B)/tests/unit/channels_log_crash
	@POINTS='$(POINTS)' SEED='$(SEED)' $<
bench: all $(BENCHES:%.c=$(B)/%)
	@tests/bench/run $(BENCH)
crash-tools: all $(B)/tests/crash/peer
crash-real: crash-tools
	@tests/crash/real.py --long --cycles $(or $(CYCLES),10000) $(if $(SEED),--seed $(SEED))
lint:
	@python3 tests/lib/lint.py
install: all
	install -D -m 755 $(B)/leat $(DESTDIR)$(PREFIX)/bin/leat
	install -D -m 644 $(B)/libcloudevents.a $(DESTDIR)$(PREFIX)/lib/libcloudevents.a
	install -d $(DESTDIR)$(PREFIX)/include/cloudevents $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 644 include/event.h include/ce_http.h include/ce_kafka.h include/ce_amqp.h include/http_header.h include/buf.h include/err.h include/slice.h $(DESTDIR)$(PREFIX)/include/cloudevents
	$(B)/leat man > $(DESTDIR)$(PREFIX)/share/man/man1/leat.1
	$(B)/leat completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/leat

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.SECONDARY:
.PHONY: all unit test demo fuzz crash bench crash-tools crash-real lint install clean
clean:
	rm -rf build
