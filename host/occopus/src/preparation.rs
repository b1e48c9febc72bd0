//! Preparation of a deployment: the one order of steps for the command line, the service and programs. Comes after a
//! description is compiled, and ends before anything is changed.

use occopus_engine::{Engine, EngineError, InfrastructureId, NodeFailure, Preview};
use occopus_model::{Compiled, Diagnostics, Infrastructure};

use crate::authentication::Authentication;
use crate::facade::{Occopus, OpenError};
use crate::needs::{Need, needs_of_description};
use crate::rehearsal::rehearse;

/// A step of a preparation. They are done in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Read and check the description.
    Compile,
    /// Check that the engine can deploy it.
    Check,
    /// Read the user's credentials.
    Credentials,
    /// Compile the plugins that will be called.
    Preload,
    /// Render one node of each kind, with stand-ins for what is not known yet.
    Rehearse,
    /// Find the credentials of each section.
    Authenticate,
}

/// Purpose of a preparation, by which steps are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Looks at a description that need not be deployable: it may have placeholders of examples. Reads the credentials as
    /// a deployment does, so it runs the user's commands (`!command`).
    Inspect,
    /// Changes nothing: no command is run for credentials, and no plugin is compiled that is not called.
    DryRun,
    /// Calls the clouds of a description that need not be deployable.
    Sweep,
    /// Deploys.
    Deploy,
}

impl Purpose {
    /// Returns whether a step is a part of such a preparation.
    fn includes(self, step: Step) -> bool {
        match step {
            // `validate` accepts sections whose plugin is still missing, with a warning; the engine checks its plans itself.
            Step::Check => self == Self::Deploy,
            Step::Preload => matches!(self, Self::Sweep | Self::Deploy),
            Step::Compile | Step::Credentials | Step::Rehearse | Step::Authenticate => true,
        }
    }

    /// Returns whether the description must be one that can be deployed.
    fn is_deployable(self) -> bool {
        matches!(self, Self::DryRun | Self::Deploy)
    }
}

/// An error of a preparation.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Errors in the user's files, or of a part of Occopus.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nodes that cannot be rendered.
    #[error("{} of the nodes cannot be rendered: {}", .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Nodes(Vec<NodeFailure>),
}

impl From<EngineError> for PrepareError {
    fn from(error: EngineError) -> Self {
        Self::Open(error.into())
    }
}

/// A description on its way to its deployment, with what the steps so far have found.
pub struct Preparation<'a> {
    occopus: &'a Occopus,
    purpose: Purpose,
    /// Engine and id of the infrastructure, if it may exist already.
    existing: Option<(Engine, InfrastructureId)>,
    infrastructure: Infrastructure,
    warnings: Diagnostics,
    credential_warnings: Diagnostics,
    previews: Vec<Preview>,
    authentications: Vec<Authentication>,
    done: Step,
}

impl<'a> Preparation<'a> {
    /// Begins with a compiled description.
    ///
    /// # Errors
    /// Returns [`OpenError::Files`] with what keeps the description from being deployed, if the purpose wants that.
    pub fn new(occopus: &'a Occopus, compiled: Compiled, purpose: Purpose) -> Result<Self, OpenError> {
        if purpose.is_deployable() && !compiled.obstacles.is_empty() {
            return Err(compiled.obstacles.into());
        }
        Ok(Self {
            occopus,
            purpose,
            existing: None,
            infrastructure: compiled.infrastructure,
            warnings: compiled.warnings,
            credential_warnings: Diagnostics::default(),
            previews: Vec::new(),
            authentications: Vec::new(),
            done: Step::Compile,
        })
    }

    /// Renders nodes with the instances that this infrastructure of the engine has.
    #[must_use]
    pub fn with_existing(mut self, engine: Engine, id: &InfrastructureId) -> Self {
        self.existing = Some((engine, id.clone()));
        self
    }

    /// Does the steps up to this one that were not done yet. Calls `on_compile` with the keyword of each plugin before it is
    /// compiled.
    ///
    /// # Errors
    /// Returns [`PrepareError::Nodes`] with the nodes that cannot be rendered, and other errors of a step.
    pub async fn advance(&mut self, until: Step, on_compile: impl Fn(&str)) -> Result<(), PrepareError> {
        const STEPS: [Step; 5] = [Step::Check, Step::Credentials, Step::Preload, Step::Rehearse, Step::Authenticate];
        for step in STEPS.into_iter().filter(|step| *step <= until) {
            if step > self.done && self.purpose.includes(step) {
                self.perform(step, &on_compile).await?;
            }
            self.done = self.done.max(step);
        }
        Ok(())
    }

    async fn perform(&mut self, step: Step, on_compile: impl Fn(&str)) -> Result<(), PrepareError> {
        let occopus = self.occopus;
        match step {
            Step::Compile => {}
            Step::Check => occopus.planner(None).await?.check(&self.infrastructure)?,
            Step::Credentials if self.purpose == Purpose::DryRun => {
                self.credential_warnings = occopus.check_credentials().await?;
            }
            Step::Credentials => self.credential_warnings = occopus.credentials().await?,
            Step::Preload => occopus.preload(self.needs(), on_compile).await?,
            Step::Rehearse => {
                let (previews, failures) = match &self.existing {
                    Some((engine, id)) => rehearse(engine, Some(id), &self.infrastructure).await?,
                    None => rehearse(&occopus.planner(None).await?, None, &self.infrastructure).await?,
                };
                if !failures.is_empty() {
                    return Err(PrepareError::Nodes(failures));
                }
                self.previews = previews;
            }
            Step::Authenticate => {
                self.authentications = occopus.authentications(&self.infrastructure, &self.previews).await?;
            }
        }
        Ok(())
    }

    /// Returns what is to be deployed.
    pub fn infrastructure(&self) -> &Infrastructure {
        &self.infrastructure
    }

    /// Returns the warnings of the compilation.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }

    /// Returns the plugins that a deployment may call.
    pub fn needs(&self) -> Vec<Need> {
        needs_of_description(&self.infrastructure)
    }

    /// Returns the warnings about the user's credentials, after [`Step::Credentials`].
    pub fn credential_warnings(&self) -> &Diagnostics {
        &self.credential_warnings
    }

    /// Returns one rendered node of each kind, after [`Step::Rehearse`].
    pub fn previews(&self) -> &[Preview] {
        &self.previews
    }

    /// Returns the credentials of each section, after [`Step::Authenticate`]. Those with a problem cannot authenticate, which is
    /// not an error of the preparation.
    pub fn authentications(&self) -> &[Authentication] {
        &self.authentications
    }

    /// Returns what is to be deployed, and the warnings of the compilation.
    pub fn into_parts(self) -> (Infrastructure, Diagnostics) {
        (self.infrastructure, self.warnings)
    }
}
