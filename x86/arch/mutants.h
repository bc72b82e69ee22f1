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
	X(role_without_nx, "role", "npt=0", "shadow/roles.nx_off_first.la48",                      \
	  "EFER.NX is not part of it", "9645bb56b31a")                                             \
	X(role_without_smep, "role", "npt=0", "mmu/smep_smap.smep_toggled.la48",                   \
	  "that SMEP applies with CR0.WP clear is not part of it", "411c588dfb86")                 \
	X(role_without_smap, "role", "npt=0", "mmu/smep_smap.smap_after_write_without_wp.la48",    \
	  "that SMAP applies with CR0.WP clear is not part of it", "0be0226f07d1")                 \
	X(role_without_pse, "role", "npt=0", "mmu/reserved.pse_toggled.32",                        \
	  "CR4.PSE is not part of it", "")                                                         \
	X(role_without_access, "role", "npt=0", "mmu/access.rights.la57",                          \
	  "the rights granted above a table are not part of its shadow page's key",                \
	  "d28c6cfbbc5e")                                                                          \
	X(role_without_quadrant, "role", "npt=0", "shadow/quadrant.table_halves",                  \
	  "both halves of a 4-byte table share a shadow page", "fce0657ff9f1")                     \
	X(direct_page_without_access, "role", "npt=0", "mmu/roles.large_alias_rights.la48",        \
	  "below a large page the direct pages are shared whatever its rights", "9e7b0e7fba45")    \
	X(inherited_rights_of_leaf, "role", "npt=0", "shadow/roles.back_and_forth.la48",           \
	  "upper shadow pages are keyed by the rights of the leaf", "CVE-2021-38198")              \
	X(role_without_smm, "role", "npt=1", "mmu/smm.two_spaces.la48",                            \
	  "both address spaces share their roots", "")                                             \
	X(smep_lost_without_wp, "role", "npt=0", "mmu/smep_smap.smep_without_wp.la48",             \
	  "a user page that CR0.WP=0 made the supervisor's stays executable under SMEP",           \
	  "411c588dfb86")                                                                          \
	X(user_kept_without_wp, "role", "npt=0", "mmu/roles.user_after_write_without_wp.la48",     \
	  "a page made writable by CR0.WP=0 stays a user page", "")                                \
	X(ac_on_implicit_access, "role", "npt=0", "mmu/smep_smap.implicit_access",                 \
	  "RFLAGS.AC lets the processor's own accesses pass SMAP", "4f4aa80e3b88")                 \
	X(pkey_write_ignores_wp, "role", "npt=0", "mmu/pkeys.rights.la48",                         \
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
	X(walk_ignores_lost_exchange, "race", "npt=0", "",                                         \
	  "an entry that changed while A was being set is used as it was", "")                     \
	X(invlpg_keeps_unsync, "sync", "npt=0", "mmu/invlpg.page.la48",                            \
	  "INVLPG leaves the entry of an out-of-sync table as it is", "08e850c6536d")              \
	X(invlpg_skips_prev_roots, "sync", "npt=0", "mmu/cr3.pcid",                                \
	  "INVLPG of a global page leaves the previous roots as they are", "")                     \
	X(invpcid_skips_prev_roots, "sync", "npt=0", "mmu/invpcid.types",                          \
	  "INVPCID of an address in another PCID leaves its root as it is", "")                    \
	X(cr3_load_skips_sync, "sync", "npt=0", "mmu/cr3.reload.la48",                             \
	  "loading CR3 does not synchronise the current root", "b53e84eed08b")                     \
	X(cr3_load_skips_flush, "flush", "npt=0", "mmu/cr3.reload.la48",                           \
	  "loading CR3 leaves the processor's translations", "")                                   \
	X(pcid_flush_keeps_prev_root, "sync", "npt=0", "mmu/cr3.pcid",                             \
	  "flushing a PCID leaves its previous root as it is", "07ffaf343e34")                     \
	X(full_flush_skips_root, "sync", "npt=0", "mmu/global.pge_toggled.la48",                   \
	  "a flush of everything does not synchronise the current root", "b53e84eed08b")           \
	X(full_flush_skips_prev_roots, "sync", "npt=0", "mmu/invpcid.types",                       \
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
	X(sync_protects_without_flush, "flush", "npt=0", "",                                       \
	  "a table that is synchronised stays writable through TLBs", "")                          \
	X(sync_change_without_flush, "flush", "npt=0", "",                                         \
	  "entries that synchronising drops stay in the TLBs of other vCPUs", "")                  \
	X(sync_renews_mmio, "mmio", "npt=0", "mmu/mmio.becomes_ram.la48",                          \
	  "synchronising an MMIO entry renews its generation where there is memory by now", "")    \
	X(prefetch_unsyncs, "prefetch", "npt=0", "shadow/prefetch.around_a_fault.la48",            \
	  "mapping ahead makes tables go out of sync", "f1c4a88c41ea")                             \
	X(gpte_not_read_again, "race", "npt=0", "",                                                \
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
	  "mapping ahead marks pages dirty that nobody wrote", "")

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
