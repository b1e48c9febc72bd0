//! The Wasmtime engine: one for the process.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use occopus_model::files;
use wasmtime::{Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::error::RuntimeError;
use crate::limits::{CallLimits, EPOCH_TICK};

/// Number of instances in the pool. Somewhat fewer calls run at once; further ones wait.
pub(crate) const MAX_CONCURRENT_CALLS: u32 = 1_032;

/// The engine, created by the first that needs it.
pub(crate) struct LazyEngine {
    cache_dir: PathBuf,
    limits: CallLimits,
    created: OnceLock<TickingEngine>,
    /// Guard for the creation, which may fail.
    creation: Mutex<()>,
}

impl LazyEngine {
    /// Keeps compiled plugins in `cache_dir`.
    pub(crate) fn new(cache_dir: PathBuf, limits: CallLimits) -> Self {
        Self { cache_dir, limits, created: OnceLock::new(), creation: Mutex::new(()) }
    }

    /// Returns the engine. Blocks while it is created.
    pub(crate) fn engine(&self) -> Result<&Engine, RuntimeError> {
        if let Some(created) = self.created.get() {
            return Ok(&created.engine);
        }
        let _guard = self.creation.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(created) = self.created.get() {
            return Ok(&created.engine);
        }
        let created = TickingEngine::new(&self.cache_dir, &self.limits)?;
        Ok(&self.created.get_or_init(|| created).engine)
    }
}

/// Engine whose epoch ticks.
struct TickingEngine {
    engine: Engine,
    /// Owner of the epoch ticker, which ends with it.
    _ticking: Arc<()>,
}

impl TickingEngine {
    /// Creates an engine that keeps compiled plugins in `cache`.
    fn new(cache: &Path, limits: &CallLimits) -> Result<Self, RuntimeError> {
        let failed = |error: wasmtime::Error| RuntimeError::Engine { message: format!("{error:#}") };
        let engine = Engine::new(&engine_config(cache, limits, true)).or_else(|error| {
            // The pool reserves address space by the terabyte; if that is not available, instances are slower.
            tracing::debug!("no instance pool: {error:#}");
            Engine::new(&engine_config(cache, limits, false)).map_err(failed)
        })?;
        let ticking = Arc::new(());
        start_epoch_ticker(&engine, Arc::downgrade(&ticking))
            .map_err(|error| RuntimeError::Engine { message: error.to_string() })?;
        Ok(Self { engine, _ticking: ticking })
    }
}

fn engine_config(cache: &Path, limits: &CallLimits, pooling: bool) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(1 << 20)
        .async_stack_size(2 << 20);
    // Native code is run from there: nobody else may write to it.
    let directory = cache.join("compiled");
    let opened = files::create_private_dir(cache).and_then(|()| files::create_private_dir(&directory));
    let opened = opened.map_err(wasmtime::Error::from).and_then(|()| {
        let mut cache_config = CacheConfig::new();
        cache_config.with_directory(directory);
        Cache::new(cache_config)
    });
    match opened {
        Ok(opened) => {
            config.cache(Some(opened));
        }
        Err(error) => tracing::warn!("compiled plugins are not cached: {error:#}"),
    }
    if pooling {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(MAX_CONCURRENT_CALLS)
            .total_core_instances(MAX_CONCURRENT_CALLS * 8)
            .total_memories(MAX_CONCURRENT_CALLS)
            .total_tables(MAX_CONCURRENT_CALLS * 4)
            .total_stacks(MAX_CONCURRENT_CALLS)
            .max_memories_per_component(4)
            .max_tables_per_component(16)
            .max_core_instances_per_component(64)
            .max_component_instance_size(4 << 20)
            .max_core_instance_size(4 << 20)
            .table_elements(20_000)
            .max_memory_size(limits.memory_bytes)
            .linear_memory_keep_resident(256 << 10)
            .async_stack_keep_resident(64 << 10);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// Starts the thread that increments the epoch until the engine is gone.
fn start_epoch_ticker(engine: &Engine, alive: Weak<()>) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("occopus-epoch".to_owned()).spawn(move || {
        while alive.strong_count() > 0 {
            std::thread::sleep(EPOCH_TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    })?;
    Ok(())
}
