/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Deliberate defects, each a mistake that somebody could make and, where there is one, like
 * a bug that KVM had: what a suite is worth shows in whether it notices them. They are part
 * of builds with MUTANTS=1 only (MMUSCOPE_MUTANTS), and even there the code is as it should
 * be unless MMUSCOPE_MUTANT in the environment names one. tools/mutants runs them all.
 *
 * The place of a defect reads "if (!MUTANT(no_such_flush)) flush();": where MUTANT() is 0.
 */
#ifndef X86_ARCH_MUTANTS_H
#define X86_ARCH_MUTANTS_H

/*
 * X(name, area, configuration in which it is expected to show, case that is expected to notice,
 *   what is wrong, commit or CVE of the bug that is like it)
 */
#define MUTANTS(X)                                                                                 \
	X(role_without_wp, "role", "npt=0", "mmu/roles.wp_toggled.la48",                           \
	  "CR0.WP is not part of a shadow page's key",                                             \
	  "2010: segregate shadow pages with different cr0.wp")                                    \
	X(role_without_nx, "role", "npt=0", "mmu/roles.nx_off_again.la48",                         \
	  "EFER.NX is not part of it", "9645bb56b31a")                                             \
	X(role_without_smep, "role", "npt=0", "mmu/access.rights.pae",                             \
	  "that SMEP applies with CR0.WP clear is not part of it", "411c588dfb86")                 \
	X(role_without_smap, "role", "npt=0", "mmu/smep_smap.smap_after_write_without_wp.la48",    \
	  "that SMAP applies with CR0.WP clear is not part of it", "0be0226f07d1")                 \
	X(role_without_pse, "role", "npt=0", "mmu/reserved.pse_toggled.32",                        \
	  "CR4.PSE is not part of it", "")                                                         \
	X(role_without_access, "role", "npt=0", "mmu/access.rights.la57",                          \
	  "the rights granted above a table are not part of its shadow page's key",                \
	  "d28c6cfbbc5e")                                                                          \
	X(role_without_quadrant, "role", "npt=0", "shadow/quadrant.table_halves.32",               \
	  "both halves of a 4-byte table share a shadow page", "fce0657ff9f1")                     \
	X(direct_page_without_access, "role", "npt=0", "mmu/roles.large_alias_rights.la48",        \
	  "below a large page the direct pages are shared whatever its rights", "9e7b0e7fba45")    \
	X(inherited_rights_of_leaf, "role", "npt=0", "shadow/roles.back_and_forth.la48",           \
	  "upper shadow pages are keyed by the rights of the leaf", "CVE-2021-38198")              \
	X(role_without_smm, "role", "npt=1", "mmu/smm.two_spaces.la48",                            \
	  "both address spaces share their roots", "")                                             \
	X(smep_lost_without_wp, "role", "npt=0", "mmu/access.rights.la48",                         \
	  "a user page that CR0.WP=0 made the supervisor's stays executable under SMEP",           \
	  "411c588dfb86")                                                                          \
	X(user_kept_without_wp, "role", "npt=0", "mmu/roles.user_after_write_without_wp.la48",     \
	  "a page made writable by CR0.WP=0 stays a user page", "")                                \
	X(ac_on_implicit_access, "role", "npt=0", "mmu/smep_smap.implicit_access.la48",            \
	  "RFLAGS.AC lets the processor's own accesses pass SMAP", "4f4aa80e3b88")                 \
	X(pkey_write_ignores_wp, "role", "npt=1", "mmu/pkeys.emulated.la48",                       \
	  "a protection key stops the supervisor's writes with CR0.WP clear too", "")              \
	X(nx_not_reserved, "role", "npt=0", "mmu/access.rights.la57",                              \
	  "with EFER.NX clear bit 63 of an entry is not reserved", "844a5fe219cf")                 \
	X(maxphyaddr_off_by_one, "role", "npt=0", "mmu/reserved.each_bit.la48",                    \
	  "the lowest reserved address bit is allowed", "")                                        \
	X(pse_always_on, "role", "npt=0", "mmu/reserved.pse_off.32",                               \
	  "bit 7 of a directory entry means 4 MiB with CR4.PSE clear too", "")                     \
	X(accessed_before_check, "walk", "npt=0", "mmu/ad_bits.refused_sets_nothing.la57",         \
	  "A is set by an access that then faults", "8cbc70696f14")                                \
	X(accessed_in_leaf_only, "walk", "npt=0", "mmu/ad_bits.set_by_access.la57",                \
	  "upper entries get no A", "")                                                            \
	X(dirty_above_leaf, "walk", "npt=0", "mmu/ad_bits.set_by_access.la57",                     \
	  "a write sets bit 6 in upper entries too", "")                                           \
	X(clean_page_writable, "walk", "npt=0", "mmu/ad_bits.read_then_write.la57",                \
	  "a page that was read first is mapped writable: the write sets no D", "c22885050e65")    \
	X(table_update_not_logged, "walk", "npt=0", "mmu/ad_bits.tables_become_dirty.la57",        \
	  "A and D that the MMU sets don't make the table's page dirty", "")                       \
	X(fetch_bit_always, "walk", "npt=0", "mmu/access.rights.la57",                             \
	  "a fetch sets the error code's F with NX and SMEP off", "")                              \
	X(reserved_before_present, "walk", "npt=0", "mmu/reserved.not_present.la48",               \
	  "reserved bits of an entry that is not present fault as such", "")                       \
	X(rights_of_leaf_alone, "walk", "npt=0", "mmu/access.rights.la57",                         \
	  "what upper entries deny is not considered", "CVE-2021-38198")                           \
	X(large_page_of_32_as_2m, "walk", "npt=0", "mmu/sizes.map_large.32",                       \
	  "a 4 MiB page's frame is found with 2 MiB of the offset", "")                            \
	X(rom_tables_get_bits, "walk", "npt=0", "mmu/readonly.tables.la48",                        \
	  "A and D are stored into tables in read-only slots", "")                                 \
	X(invlpg_keeps_unsync, "sync", "npt=0", "mmu/invlpg.page.la48",                            \
	  "INVLPG leaves the entry of an out-of-sync table as it is", "08e850c6536d")              \
	X(invlpg_skips_prev_roots, "sync", "npt=0", "mmu/global.other_pcid.la48",                  \
	  "INVLPG of a global page leaves the previous roots as they are", "")                     \
	X(invpcid_skips_prev_roots, "sync", "npt=0", "mmu/invpcid.types.la48",                     \
	  "INVPCID of an address in another PCID leaves its root as it is", "")                    \
	X(cr3_load_skips_sync, "sync", "npt=0", "mmu/cr3.reload.la48",                             \
	  "loading CR3 does not synchronise the current root", "b53e84eed08b")                     \
	X(pcid_flush_keeps_prev_root, "sync", "npt=0", "mmu/invpcid.types.la48",                   \
	  "flushing a PCID leaves its previous root as it is", "07ffaf343e34")                     \
	X(full_flush_skips_root, "sync", "npt=0", "mmu/global.pge_toggled.la48",                   \
	  "a flush of everything does not synchronise the current root", "b53e84eed08b")           \
	X(full_flush_skips_prev_roots, "sync", "npt=0", "mmu/invpcid.types.la48",                  \
	  "a flush of everything leaves the previous roots as they are", "07ffaf343e34")           \
	X(unsync_marks_one_parent, "sync", "npt=0", "mmu/cr3.shared_table.la57",                   \
	  "of a table's parents only the first learns that it is out of sync", "")                 \
	X(unsync_marks_one_level, "sync", "npt=0", "mmu/cr3.reload.la48",                          \
	  "the mark goes no further up than to the table's parents", "")                           \
	X(link_forgets_unsync, "sync", "npt=0", "mmu/alias.table_and_data.la48",                   \
	  "an out-of-sync table linked below a further parent is not marked there", "")            \
	X(link_skips_child_sync, "sync", "npt=0", "mmu/alias.fresh_link.la57",                     \
	  "an upper table is linked without synchronising what is below it", "65855ed8b034")       \
	X(reuse_skips_sync, "sync", "npt=0", "mmu/alias.fresh_link.la57",                          \
	  "an out-of-sync table is linked at a fresh address as it is", "65855ed8b034")            \
	X(sync_skips_last_index, "sync", "npt=0", "mmu/live_edit.many_tables.la57",                \
	  "what is out of sync below a table's last entry is not found", "")                       \
	X(sync_first_batch_only, "sync", "npt=0", "mmu/live_edit.many_tables.la57",                \
	  "of many tables out of sync only the first batch is synchronised", "")                   \
	X(sync_keeps_gfn, "sync", "npt=0", "mmu/alias.fresh_link.la57",                            \
	  "synchronising takes over new rights and keeps the old page", "")                        \
	X(sync_keeps_rights, "sync", "npt=0", "mmu/live_edit.many_rights.la48",                    \
	  "synchronising keeps an entry whose page is the same", "9ed5520dd3c9")                   \
	X(sync_forgets_protection, "sync", "npt=0", "mmu/alias.table_with_rights.la57",            \
	  "a table that was synchronised stays writable", "36a2e6774bfb")                          \
	X(sync_protects_without_flush, "flush", "npt=0", "mmu/stale.protected_again.la48",         \
	  "a table that is synchronised stays writable through TLBs", "")                          \
	X(sync_change_without_flush, "flush", "npt=0", "mmu/stale.synchronised.la48",              \
	  "entries that synchronising drops stay in the TLBs of other vCPUs", "")                  \
	X(sync_renews_mmio, "mmio", "npt=0", "shadow/mmio.slot_before_sync.la48",                  \
	  "synchronising an MMIO entry renews its generation where there is memory by now", "")    \
	X(prefetch_unsyncs, "prefetch", "npt=0", "shadow/prefetch.stays_in_sync.la48",             \
	  "mapping ahead makes tables go out of sync", "f1c4a88c41ea")                             \
	X(gpte_not_read_again, "race", "npt=0", "mmu/races.edit.la48",                             \
	  "a guest entry is not read again once its table is protected",                           \
	  "2008: race when instantiating a shadow pte")                                            \
	X(path_cleared_whole, "sync", "npt=0", "mmu/live_edit.many_tables.la57",                   \
	  "one table synchronised counts for all of its parent's", "")                             \
	X(prefetch_ignores_reserved, "prefetch", "npt=0", "mmu/reserved.neighbour.la57.nx",        \
	  "a neighbour with reserved bits is mapped ahead",                                        \
	  "2010: forgot reserved bits check in speculative path")                                  \
	X(prefetch_ignores_accessed, "prefetch", "npt=0", "mmu/ad_bits.neighbours_untouched.la48", \
	  "a neighbour never accessed is mapped ahead: its access sets no A", "")                  \
	X(prefetch_ignores_parents, "prefetch", "npt=0",                                           \
	  "mmu/roles.parents_rights_on_neighbours.la48",                                           \
	  "a neighbour is mapped ahead with rights that an upper entry denies", "")                \
	X(prefetch_logs, "prefetch", "npt=1,tdp_mmu=0", "shadow/prefetch.dirty_log.la48",          \
	  "mapping ahead marks pages dirty that nobody wrote", "")                                 \
	X(table_not_protected, "protect", "npt=0", "mmu/alias.table_and_data.la48",                \
	  "a page that becomes a last-level table is not write-protected", "")                     \
	X(table_protected_without_flush, "flush", "npt=0", "mmu/invlpg.remap_loop.la48",           \
	  "a page that becomes a table stays writable through TLBs",                               \
	  "2007: flush remote tlbs when reducing shadow pte permissions")                          \
	X(table_below_huge_page, "huge", "npt=0", "shadow/large.covers_tables.la48.thp",           \
	  "a huge page may cover a shadowed table and makes it writable", "")                      \
	X(disallow_never_undone, "huge", "npt=0", "shadow/large.huge_again.la48",                  \
	  "where a table was there is never a huge page again", "")                                \
	X(upper_table_not_protected, "protect", "npt=0", "mmu/alias.table_and_data.la48",          \
	  "a page that becomes an upper table is not write-protected", "")                         \
	X(protect_first_alias_only, "protect", "npt=0", "mmu/alias.writable_aliases.la48",         \
	  "of several mappings of a page only the first is write-protected", "")                   \
	X(last_alias_decides_flush, "protect", "npt=0", "mmu/shootdown.table_under_writer.la48",   \
	  "whether protecting a page needs a flush is asked of its last mapping", "f81602958c11")  \
	X(fast_write_to_table, "protect", "npt=1,tdp_mmu=0", "shadow/nested_npt.edits.la48",       \
	  "protecting a table lets a write fault without the lock undo it",                        \
	  "2022: write protection of tables keeps the MMU-writable bit")                           \
	X(protected_already_no_flush, "race", "npt=0,interleave=371", "mmu/races.table.32",        \
	  "protecting what somebody protected before, and has not flushed yet, needs no flush",    \
	  "6dbf79e7164e")                                                                          \
	X(track_one_space, "protect", "npt=0", "mmu/smm.tables_mapped.la48",                       \
	  "a table shadowed in one address space is writable through the other",                   \
	  "write tracking in only one address space")                                              \
	X(table_write_keeps_entry, "write", "npt=0", "mmu/ad_bits.set_again.la57",                 \
	  "an emulated write to a table leaves the shadow of the entry", "")                       \
	X(pde_write_drops_half, "write", "npt=0", "mmu/invlpg.large_page.32",                      \
	  "a write to a 32-bit directory drops one of the two halves that it maps",                \
	  "fce0657ff9f1")                                                                          \
	X(quadrant_of_write_ignored, "write", "npt=0", "shadow/quadrant.directory_entries.32",     \
	  "a write to a 4-byte table drops the same entry of all its shadow pages",                \
	  "fce0657ff9f1")                                                                          \
	X(table_write_no_flush, "flush", "npt=0", "mmu/invlpg.large_page.la48",                    \
	  "entries that an emulated write drops stay in TLBs", "")                                 \
	X(flood_never_noticed, "write", "npt=0", "shadow/reuse.flooded.la48",                      \
	  "a table that became data is emulated for ever", "")                                     \
	X(misaligned_write_one_entry, "write", "npt=0",                                            \
	  "shadow/write_protect.partial_stores.la48",                                              \
	  "a write across two entries drops the first only", "")                                   \
	X(emulated_exchange_not_atomic, "race", "npt=0,interleave=1",                              \
	  "mmu/table_stores.exchanges.la48",                                                       \
	  "an emulated exchange in a table stores whatever is there by then", "0e0fee5c539b")      \
	X(emulated_write_not_logged, "dirty", "npt=0", "mmu/dirty_log.upper_table.la48",           \
	  "an emulated write to a table doesn't make its page dirty", "")                          \
	X(emulated_exchange_not_logged, "dirty", "npt=0", "mmu/dirty_log.upper_table.la48",        \
	  "nor does an emulated exchange", "")                                                     \
	X(rmap_second_block_lost, "rmap", "npt=0", "mmu/alias.writable_aliases.la48",              \
	  "of many mappings of a page those beyond the first block are not visited", "")           \
	X(rmap_walk_misses_last, "rmap", "npt=1,tdp_mmu=0", "mmu/dirty_log.exact.la48.small",      \
	  "walks of a slot's reverse maps leave out the last page", "")                            \
	X(rmap_recycled_without_flush, "rmap", "npt=0", "mmu/stale.many_mappings.la48",            \
	  "a page with too many mappings loses them without a flush", "53a27b39ff4d")              \
	X(rmap_of_other_space, "rmap", "npt=1,tdp_mmu=0", "mmu/smm.two_spaces.la48",               \
	  "a mapping of the second address space is taken off the first one's reverse map", "")    \
	X(rmap_small_pages_only, "notifier", "npt=1,tdp_mmu=0", "mmu/host_changes.dropped.thp",    \
	  "unmapping leaves huge pages in place", "")                                              \
	X(slot_delete_keeps_pages, "zap", "npt=1", "mmu/memslot.replace.la48",                     \
	  "deleting a slot leaves its mappings in place", "4e103134b862")                          \
	X(obsolete_root_stays_loaded, "zap", "npt=1", "mmu/memslot.replace.la48",                  \
	  "vCPUs are not told to leave a root that has become invalid",                            \
	  "2021: faults into invalid roots")                                                       \
	X(fault_into_obsolete_root, "race", "npt=1", "mmu/races.replace.none",                     \
	  "a fault fills a root that became invalid since the fault began", "a955cad84cda")        \
	X(commit_without_flush, "flush", "npt=0", "mmu/stale.recycled.la48",                       \
	  "zapped pages are given back while TLBs still lead to them", "")                         \
	X(new_pages_at_wrong_end, "zap", "npt=0", "shadow/roots.newest_stay.la48",                 \
	  "new pages join the list at the end where obsolete ones are looked for", "f95eec9bed76") \
	X(page_limit_ignored, "zap", "npt=0", "shadow/roots.recycled.la48",                        \
	  "the limit on shadow pages is not kept", "bc8a3d8925a8")                                 \
	X(obsolete_page_found, "race", "npt=0", "mmu/races.generation.la48",                       \
	  "looking a table up finds pages of the generation that is being zapped", "")             \
	X(root_request_missing, "race", "npt=0", "shadow/reuse.root_becomes_data.la48",            \
	  "vCPUs are not told that a root of theirs was recycled", "")                             \
	X(prev_root_of_other_pgd, "roots", "npt=0", "mmu/cr3.many_spaces.la48",                    \
	  "a previous root is taken for any CR3", "")                                              \
	X(root_outside_memory, "roots", "npt=0", "mmu/cr3.root_outside_memory.pae",                \
	  "a root where no memory is is accepted", "CVE-2009-2287")                                \
	X(pdptes_kept, "roots", "npt=0", "mmu/cr3.pdpte_changed.pae",                              \
	  "PDPTEs that a load of the same CR3 changes are not followed", "")                       \
	X(log_start_protects_none, "dirty", "npt=1", "mmu/dirty_log.exact.la48.small",             \
	  "switching the log on leaves what is mapped writable", "")                               \
	X(log_start_protects_none_rmap, "dirty", "npt=0", "mmu/dirty_log.exact.la48.small",        \
	  "the same for reverse maps", "")                                                         \
	X(log_start_without_flush, "flush", "npt=1", "mmu/dirty_log.exact.la48.small",             \
	  "switching the log on leaves writable translations in TLBs", "")                         \
	X(log_get_without_flush, "flush", "npt=1", "mmu/dirty_log.exact.la48.small",               \
	  "fetching the log leaves writable translations in TLBs", "")                             \
	X(log_clear_without_flush, "flush", "npt=1", "mmu/dirty_log.clear.4k",                     \
	  "clearing the log leaves writable translations in TLBs", "")                             \
	X(log_get_protects_one, "dirty", "npt=1", "mmu/ad_bits.tables_become_dirty.la57",          \
	  "fetching the log protects the first dirty page of each 64 only", "")                    \
	X(log_clear_protects_none, "dirty", "npt=1", "mmu/dirty_log.clear.4k",                     \
	  "clearing bits of the log does not protect the pages again", "")                         \
	X(log_read_after_protecting, "race", "npt=1", "mmu/races.log.none",                        \
	  "fetching the log protects pages before it takes the bits away", "edde99ce0529")         \
	X(dirty_bit_off_by_one, "dirty", "npt=1", "mmu/dirty_log.exact.la48.small",                \
	  "the log names the page after the one that was written", "")                             \
	X(initially_set_ignored, "dirty", "npt=1", "mmu/dirty_log.initially_set.4k",               \
	  "a log that is to begin with all bits set begins with none", "")                         \
	X(fast_fault_not_logged, "dirty", "npt=1", "mmu/ad_bits.tables_become_dirty.la57",         \
	  "a write fault that is fixed without the lock is not logged", "")                        \
	X(fast_fault_on_huge_page, "dirty", "npt=1,tdp_mmu=0", "mmu/dirty_log.exact.la48.huge",    \
	  "a huge page becomes writable under the log, one small page is logged", "")              \
	X(slow_fault_not_logged, "dirty", "npt=1", "mmu/dirty_log.exact.la48.small",               \
	  "a page that is mapped writable is not logged", "")                                      \
	X(huge_page_under_log, "dirty", "npt=1", "mmu/dirty_log.exact.la48.huge",                  \
	  "huge pages are mapped for reading while the log is on, and become writable", "")        \
	X(clear_splits_one_less, "dirty", "npt=1", "tdp/huge_split.clear_one_page",                \
	  "clearing the log does not split the huge page of the last bit", "7cd1bf039eeb")         \
	X(clear_protects_one_huge_page, "dirty", "npt=1,tdp_mmu=0", "mmu/dirty_log.clear_across",  \
	  "where the bits that are cleared lie in two huge pages the second stays writable", "")   \
	X(ring_reset_protects_none, "dirty", "npt=1", "mmu/dirty_ring.exact.la48.4k",              \
	  "resetting the ring does not protect the pages again", "")                               \
	X(ring_reset_without_flush, "flush", "npt=1", "mmu/dirty_ring.exact.la48.4k",              \
	  "resetting the ring leaves writable translations in TLBs", "")                           \
	X(ring_never_full, "dirty", "npt=1", "mmu/dirty_ring.full", "a full ring is not reported", \
	  "")                                                                                      \
	X(ring_batch_shifts_out, "dirty", "npt=1", "mmu/dirty_ring.exact.la48.4k",                 \
	  "of entries that are reset together those are lost that a lower one shifts out", "")     \
	X(log_range_one_short, "dirty", "npt=1", "mmu/dirty_log.exact.la48.small",                 \
	  "of the pages whose bits are taken the last stays writable", "")                         \
	X(split_wrong_offset, "dirty", "npt=1", "mmu/dirty_log.exact.la48.huge",                   \
	  "a split huge page maps its small pages one further", "")                                \
	X(huge_page_past_slot_end, "huge", "npt=1", "mmu/memslot.ends.la48",                       \
	  "a huge page is mapped beyond the end of its slot", "ef057cbf825e")                      \
	X(huge_page_before_slot, "huge", "npt=1", "mmu/memslot.ends.la48",                         \
	  "a huge page is mapped from before the beginning of its slot", "")                       \
	X(huge_page_misaligned, "huge", "npt=1", "mmu/memslot.offsets.la48",                       \
	  "huge pages are used where guest and host addresses are out of step", "")                \
	X(huge_page_of_small_ones, "huge", "npt=1", "mmu/host_changes.huge_pages",                 \
	  "the size of the host's page is not considered", "")                                     \
	X(disallow_2m_only, "huge", "npt=0", "shadow/large.gigabyte_over_tables.la48",             \
	  "a table forbids 2 MiB pages over it but none of 1 GiB", "")                             \
	X(huge_page_never_recovered, "huge", "npt=1", "tdp/huge_split.log_on_off",                 \
	  "after logging small pages stay where a huge one fits", "")                              \
	X(recover_looks_at_next, "huge", "npt=1", "tdp/huge_split.log_on_off",                     \
	  "whether a huge page fits is asked of the page behind it", "87aa9ec939ec")               \
	X(huge_page_never_recovered_rmap, "huge", "npt=1,tdp_mmu=0", "tdp/huge_split.log_on_off",  \
	  "the same with reverse maps", "")                                                        \
	X(nx_huge_page_executable, "nx", "npt=1", "tdp/nx_huge.split_by_fetch",                    \
	  "under the iTLB multihit workaround huge pages are executable", "CVE-2018-12207")        \
	X(nx_table_becomes_huge_again, "nx", "npt=1", "tdp/nx_huge.split_by_fetch",                \
	  "a data access makes a huge page where a fetch had it split", "CVE-2018-12207")          \
	X(nx_split_not_counted, "nx", "npt=1", "tdp/nx_huge.split_by_fetch",                       \
	  "tables that a fetch split are not remembered, and never zapped", "")                    \
	X(nx_recovery_without_flush, "nx", "npt=1", "tdp/nx_huge.recovered",                       \
	  "what the recovery of huge pages zaps stays in TLBs", "048f49809c52")                    \
	X(mmio_generation_ignored, "mmio", "npt=1", "mmu/mmio.fetch",                              \
	  "an address that was MMIO stays MMIO when a slot appears there", "56f17dd3fbc4")         \
	X(mmio_cache_stale, "mmio", "npt=1", "mmu/mmio.fetch",                                     \
	  "what a vCPU remembers of its last MMIO access outlives a change of slots",              \
	  "56f17dd3fbc4")                                                                          \
	X(mmio_over_mapping_kept, "mmio", "npt=0", "shadow/mmio.over_a_mapping.la48",              \
	  "an MMIO entry replaces a mapping that stays on its reverse map", "aad885e77496")        \
	X(mmio_generation_never_wraps, "mmio", "npt=1", "mmu/mmio.generation_wraps.la48",          \
	  "when the generation's bits start over, old MMIO entries count again",                   \
	  "2020: MMIO generation encoding")                                                        \
	X(fast_fault_logs_first, "race", "npt=1", "mmu/interleave.migrate.none.clear",             \
	  "a fast fault marks the page dirty before it makes it writable", "")                     \
	X(retry_ignores_sequence, "race", "npt=1", "mmu/races.discard.none",                       \
	  "a fault maps a page that was taken away since it was looked up", "4a42d848db95")        \
	X(retry_ignores_progress, "race", "npt=1", "mmu/races.discard.none",                       \
	  "a fault maps a page that is just being taken away", "4a42d848db95")                     \
	X(retry_range_one_short, "race", "npt=1", "mmu/races.discard.none",                        \
	  "of the pages that are being taken away the last may be mapped", "")                     \
	X(retry_not_under_lock, "race", "npt=1", "mmu/races.discard.none",                         \
	  "whether a page is being taken away is asked before mmu_lock only", "4a42d848db95")      \
	X(sequence_read_late, "race", "npt=1", "mmu/races.discard.none",                           \
	  "a fault reads the sequence after it has looked the page up", "")                        \
	X(invalid_slot_mapped, "race", "npt=0", "mmu/races.replace.none",                          \
	  "a fault maps pages of a slot that is being deleted", "")                                \
	X(unmap_does_nothing, "notifier", "npt=1", "mmu/host_changes.dropped.anon",                \
	  "pages that the host takes away stay mapped", "")                                        \
	X(unmap_misses_last_page, "notifier", "npt=1", "mmu/host_changes.dropped.anon",            \
	  "of pages that the host takes away the last stays mapped", "")                           \
	X(unmap_without_flush, "flush", "npt=1", "tdp/parallel.flushed.discard",                   \
	  "pages that the host takes away stay in TLBs", "85f013070639")                           \
	X(unmap_one_space, "notifier", "npt=1", "tdp/roots.in_smm.discard",                        \
	  "unmapping skips the roots of system management mode", "CVE-2021-47639")                 \
	X(unmap_first_slot, "notifier", "npt=1", "mmu/host_changes.aliases",                       \
	  "of two slots over the same memory the second keeps what was unmapped", "")              \
	X(age_keeps_accessed, "ageing", "npt=1", "tdp/ageing.idle_goes_used_stays",                \
	  "ageing leaves A: pages are young for ever", "57128468080a")                             \
	X(age_tells_old, "ageing", "npt=1", "tdp/ageing.idle_goes_used_stays",                     \
	  "ageing finds pages old that are in use", "57128468080a")                                \
	X(tracking_restores_no_exec, "tracking", "ept=1,ad_bits=0", "tdp/ageing.whole_again",      \
	  "access tracking gives back R only",                                                     \
	  "2017: restored PTE has needed permissions in fast page fault")                          \
	X(tracking_keeps_rights, "tracking", "ept=1,ad_bits=0", "tdp/ageing.idle_goes_used_stays", \
	  "ageing without A bits leaves the entry as it is", "57128468080a")                       \
	X(tracked_page_slow, "tracking", "ept=1,ad_bits=0", "tdp/ageing.whole_again",              \
	  "an access that tracking made fault takes the slow path",                                \
	  "2017: restored PTE has needed permissions in fast page fault")                          \
	X(tracked_write_protected_page, "tracking", "ept=1,ad_bits=0",                             \
	  "mmu/host_changes.mprotect.4k",                                                          \
	  "a write to a page that tracking made fault gives it W though it was not writable", "")  \
	X(readonly_slot_writable, "readonly", "npt=1", "mmu/readonly.write_exits.la48",            \
	  "a read maps a page of a read-only slot writable", "")                                   \
	X(cow_page_writable, "readonly", "npt=1", "tdp/fast_fault.copy_on_write",                  \
	  "a read maps a page writable that has to be copied before", "")                          \
	X(readonly_write_lands, "readonly", "npt=1", "mmu/readonly.write_exits.la48",              \
	  "a write to a read-only slot is emulated in memory instead of being user space's", "")   \
	X(prefetch_maps_readonly, "prefetch", "npt=1,tdp_mmu=0", "mmu/readonly.write_exits.la48",  \
	  "mapping ahead takes pages of read-only slots", "")                                      \
	X(prefetch_during_unmap, "race", "npt=0", "mmu/races.discard.none",                        \
	  "mapping ahead goes on while pages are being taken away", "4a42d848db95")                \
	X(lost_exchange_ignored, "race", "npt=1,interleave=1", "tdp/parallel.same_pages.small",    \
	  "an entry that another vCPU changed first counts as installed", "")                      \
	X(yield_forgets_flush, "race", "npt=1", "mmu/races.discard.none",                          \
	  "what is owed when a walk lets go of mmu_lock is not flushed", "a835429cda91")           \
	X(yield_then_advance, "race", "npt=1", "mmu/races.discard.none",                           \
	  "a walk that let go of mmu_lock skips the entry where it did", "CVE-2021-47094")         \
	X(root_not_counted, "roots", "npt=1", "mmu/smm.two_spaces.la48",                           \
	  "a vCPU that finds a root does not count as its user", "7533377215b6")                   \
	X(flush_only_running, "race", "npt=1", "mmu/dirty_log.exact.la48.small",                   \
	  "a flush is requested only of vCPUs that are in the guest", "")                          \
	X(flush_skips_last_vcpu, "flush", "npt=1", "mmu/dirty_log.running.get",                    \
	  "a request does not reach the last vCPU", "")                                            \
	X(flush_ranges_not_joined, "flush", "npt=1", "mmu/dirty_log.two_slots",                    \
	  "of two ranges to be flushed the second is forgotten", "")                               \
	X(flush_range_one_short, "flush", "npt=1", "mmu/dirty_log.exact.la48.small",               \
	  "the last page of a range is not flushed", "")                                           \
	X(root_load_without_flush, "flush", "npt=1", "mmu/memslot.replace.la48",                   \
	  "a new root is used with the TLB of the old one", "")                                    \
	X(cpu_invlpg_keeps_tables, "cpu", "npt=1", "mmu/invlpg.upper_entry.la48",                  \
	  "INVLPG keeps what is cached of upper entries", "")                                      \
	X(cpu_invlpg_one_fragment, "cpu", "npt=1", "mmu/invlpg.large_page.la48",                   \
	  "INVLPG drops 4 KiB of a large page", "")                                                \
	X(cpu_invlpg_keeps_global, "cpu", "npt=1", "mmu/global.two_spaces.la48",                   \
	  "INVLPG keeps global translations", "")                                                  \
	X(cpu_cr3_drops_pcid_0, "cpu", "npt=1", "mmu/cr3.pcid.la48",                               \
	  "MOV to CR3 flushes PCID 0 instead of the new one", "")                                  \
	X(cpu_pge_keeps_global, "cpu", "npt=1", "mmu/global.pge_toggled.la48",                     \
	  "a change of CR4.PGE keeps global translations", "")                                     \
	X(cpu_invpcid_all_one, "cpu", "npt=1", "mmu/invpcid.types.la48",                           \
	  "INVPCID of all PCIDs drops one", "")                                                    \
	X(cpu_gpa_flush_keeps_combined, "cpu", "npt=1", "mmu/dirty_log.exact.la48.small",          \
	  "flushing guest-physical addresses keeps linear translations to them", "")               \
	X(rmap_list_cut, "rmap", "npt=0", "mmu/stale.mappings_taken_off.la48",                     \
	  "when the first block of many mappings is empty the others are forgotten", "")

enum mutant_id {
	MUTANT_NONE,
#define MUTANT_ID(name, area, config, expected, what, like) MUT_##name,
	MUTANTS(MUTANT_ID)
#undef MUTANT_ID
};

#ifdef MMUSCOPE_MUTANTS
/* The one in effect; set before anything runs. */
extern enum mutant_id mutant_selected;
#define MUTANT(name) (mutant_selected == MUT_##name)
#else
#define MUTANT(name) (0 * MUT_##name)
#endif

#endif
