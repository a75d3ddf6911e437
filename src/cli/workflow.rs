//! `workflow`: lint, list, show, run, steer.

use super::args::{Common, Output, Resolution, Steered, WorkflowCommand};
use super::text::{Paint, ago, colour, complain, painted, print, print_json, table};
use super::{Done, Exit, client, order};
use crate::base::{Source, Timestamp};
use crate::config::WorkflowUse;
use crate::control;
use crate::decide::What;
use crate::decide::view::Status;
use crate::io::Clock;
use crate::sys;
use crate::workflow::{
    ExecutionId, ExecutionView, Form, ObligationId, ObligationView, State, Subject, Word, Workflow, parse,
};

pub(super) fn run(common: &Common, command: WorkflowCommand) -> Done {
    match command {
        WorkflowCommand::Lint { files } => lint(common, &files),
        WorkflowCommand::List => list(common),
        WorkflowCommand::Show { execution } => show(common, &execution),
        WorkflowCommand::Run { workflow, from, to, why } => {
            order::give(common, why, What::Run { workflow, activate: to, deactivate: from })
        }
        WorkflowCommand::Approve(steered) => steer(common, steered, Word::Approve),
        WorkflowCommand::Decline(steered) => steer(common, steered, Word::Decline),
        WorkflowCommand::Pause(steered) => steer(common, steered, Word::Pause),
        WorkflowCommand::Resume(steered) => steer(common, steered, Word::Resume),
        WorkflowCommand::Cancel(steered) => steer(common, steered, Word::Cancel),
        WorkflowCommand::Retry(steered) => steer(common, steered, Word::Retry),
        WorkflowCommand::Skip(steered) => steer(common, steered, Word::Skip),
        WorkflowCommand::Resolve { steered, resolution } => {
            let word = match resolution {
                Resolution::Applied => Word::Applied,
                Resolution::NotApplied => Word::NotApplied,
            };
            steer(common, steered, word)
        }
    }
}

/// The same code as loading, file by file.
fn lint(common: &Common, files: &[std::path::PathBuf]) -> Done {
    let (config, _) = sys::load_config(&common.config).map_err(|mistakes| {
        let config = common.config.display();
        Exit::No(format!(
            "{}workflows are checked against {config}, which has mistakes",
            mistakes.render(colour(true))
        ))
    })?;
    let uses: Vec<WorkflowUse> = match files.is_empty() {
        true => config.workflows.clone(),
        false => files
            .iter()
            .map(|file| {
                let same = |use_: &&WorkflowUse| use_.file.canonicalize().ok() == file.canonicalize().ok();
                let known = config.workflows.iter().find(same).cloned();
                known.map(|use_| WorkflowUse { file: file.clone(), ..use_ }).unwrap_or_else(|| WorkflowUse {
                    file: file.clone(),
                    when: None,
                    activate: None,
                    deactivate: None,
                    place: crate::base::Place::whole(&Source::new(file.display().to_string(), "")),
                })
            })
            .collect(),
    };
    let mut bad = 0;
    for use_ in &uses {
        let name = use_.file.display().to_string();
        let text = std::fs::read_to_string(&use_.file)
            .map_err(|why| Exit::Missing(format!("cannot read {name}: {why}")))?;
        match parse(&Source::new(name.clone(), text), use_, &config) {
            Ok((workflow, warnings)) => {
                complain(&warnings.render(colour(true)));
                print(&format!("{name} is sound: {}\n", describe(&workflow)));
            }
            Err(mistakes) => {
                complain(&mistakes.render(colour(true)));
                bad += 1;
            }
        }
    }
    match bad {
        0 => Ok(()),
        n => Err(Exit::No(format!("{n} of {} workflow files have mistakes", uses.len()))),
    }
}

fn describe(workflow: &Workflow) -> String {
    let stages: Vec<_> = workflow
        .stages
        .iter()
        .map(|stage| {
            let needs: Vec<_> = stage.needs.iter().map(|need| workflow.stages[*need].name.as_str()).collect();
            match needs.is_empty() {
                true => stage.name.clone(),
                false => format!("{} (after {})", stage.name, needs.join(", ")),
            }
        })
        .collect();
    let form = match workflow.form {
        Form::Article => "stages in the order of the file",
        Form::Version1 => "version 1",
    };
    format!("{}, {form}: {}", workflow.name, stages.join(" · "))
}

fn list(common: &Common) -> Done {
    let status: Status = client::get(common, "/v1/status", &[])?;
    let executions: Vec<ExecutionView> = client::get(common, "/v1/executions", &[])?;
    let obligations: Vec<ObligationView> = client::get(common, "/v1/obligations", &[])?;
    if common.output == Output::Json {
        print_json(&serde_json::json!({
            "workflows": status.workflows,
            "executions": executions,
            "obligations": obligations,
        }));
        return Ok(());
    }
    let rows: Vec<_> = status
        .workflows
        .iter()
        .map(|workflow| {
            vec![
                workflow.name.as_str().into(),
                workflow.trigger.as_deref().unwrap_or("a person").into(),
                workflow.state.as_str().into(),
                workflow.words.as_str().into(),
            ]
        })
        .collect();
    let mut out = table(&["WORKFLOW", "STARTED WHEN", "STATE", "WHY"], &rows);
    if !executions.is_empty() {
        let rows: Vec<_> = executions.iter().rev().map(|view| execution_row(view, status.at)).collect();
        out.push('\n');
        out.push_str(&table(&["EXECUTION", "STATE", "STARTED", "FROM", "TO", "WHY"], &rows));
    }
    if !obligations.is_empty() {
        let rows: Vec<_> = obligations
            .iter()
            .map(|owed| {
                vec![
                    owed.id.to_string().into(),
                    owed.region.as_str().into(),
                    ago(owed.since, status.at).into(),
                    owed.attempts.to_string().into(),
                    owed.what.as_str().into(),
                    owed.why.as_str().into(),
                ]
            })
            .collect();
        out.push('\n');
        out.push_str(&table(&["OBLIGATION", "REGION", "SINCE", "TRIED", "WHAT", "LAST HEARD"], &rows));
    }
    print(&out);
    Ok(())
}

fn execution_row(view: &ExecutionView, now: Timestamp) -> Vec<super::text::Cell> {
    vec![
        view.id.to_string().into(),
        painted(state_word(view.state), state_paint(view.state)),
        ago(view.started, now).into(),
        view.deactivate.as_str().into(),
        view.activate.as_str().into(),
        view.why.clone().unwrap_or_else(|| view.cause.to_string()).into(),
    ]
}

/// From the daemon, or from the journal if there is no daemon to ask.
fn show(common: &Common, execution: &str) -> Done {
    let view = match client::get(common, &format!("/v1/executions/{execution}"), &[]) {
        Ok(view) => view,
        Err(Exit::Missing(why)) => from_journal(common, execution).ok_or(Exit::Missing(why))?,
        Err(no) => return Err(no),
    };
    if common.output == Output::Json {
        print_json(&view);
        return Ok(());
    }
    print(&show_execution(&view, Clock.now().wall));
    Ok(())
}

fn from_journal(common: &Common, execution: &str) -> Option<ExecutionView> {
    let (config, _) = sys::load_config(&common.config).ok()?;
    let views = control::executions_on_disk(config.state_directory(), Clock.now()).ok()?;
    let view = views.into_iter().rev().find(|view| view.id.0 == execution || view.workflow == execution)?;
    complain("the daemon cannot be reached; this is what its journal says");
    Some(view)
}

fn show_execution(view: &ExecutionView, now: Timestamp) -> String {
    let mut out = format!(
        "{}  {}  from {} to {}, started {} ago\n  because  {}\n",
        view.id,
        super::text::paint(state_word(view.state), state_paint(view.state), colour(false)),
        view.deactivate,
        view.activate,
        ago(view.started, now),
        view.cause,
    );
    if let Some(why) = &view.why {
        out.push_str(&format!("  now      {why}\n"));
    }
    for decision in &view.decisions {
        let choices: Vec<_> = decision.choices.iter().map(|word| word.word()).collect();
        let about = decision.stage.as_deref().unwrap_or("the whole execution");
        out.push_str(&format!("  decide   {about}: {} [{}]\n", decision.what, choices.join(" | ")));
    }
    out.push('\n');
    let rows: Vec<_> = view
        .stages
        .iter()
        .map(|stage| {
            let mut why = stage.why.clone();
            if !stage.waits_for.is_empty() {
                why = format!("waits for {}", stage.waits_for.join(", "));
            }
            for (key, value) in &stage.outputs {
                why.push_str(&format!(" · {key} {value}"));
            }
            let took = match (stage.began, stage.ended) {
                (Some(began), Some(ended)) => ago(began, ended),
                (Some(began), None) => format!("{} so far", ago(began, now)),
                _ => "-".to_owned(),
            };
            vec![
                stage.name.as_str().into(),
                stage.agent.as_str().into(),
                stage.state.as_str().into(),
                stage.attempts.to_string().into(),
                took.into(),
                why.into(),
            ]
        })
        .collect();
    out.push_str(&table(&["STAGE", "AGENT", "STATE", "TRIED", "TOOK", "LAST HEARD"], &rows));
    out
}

fn steer(common: &Common, steered: Steered, word: Word) -> Done {
    let Steered { execution, stage, why } = steered;
    let of = match (execution.parse::<u64>(), stage) {
        (Ok(number), None) => Subject::Obligation(ObligationId(number)),
        (_, stage) => {
            // The daemon knows the full id behind a short name.
            let view: ExecutionView = client::get(common, &format!("/v1/executions/{execution}"), &[])?;
            subject(view.id, stage)
        }
    };
    order::give(common, why, What::Steer { of, word })
}

fn subject(execution: ExecutionId, stage: Option<String>) -> Subject {
    match stage {
        Some(stage) => Subject::Stage { execution, stage },
        None => Subject::Execution(execution),
    }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Paused => "paused",
        State::Failing => "failing",
        State::Cancelling => "cancelling",
        State::Succeeded => "succeeded",
        State::SucceededWithExceptions => "succeeded with exceptions",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}

fn state_paint(state: State) -> Paint {
    match state {
        State::Succeeded => Paint::Good,
        State::Running | State::SucceededWithExceptions | State::Cancelled => Paint::Plain,
        State::Paused | State::Failing | State::Cancelling => Paint::Warn,
        State::Failed => Paint::Bad,
    }
}
